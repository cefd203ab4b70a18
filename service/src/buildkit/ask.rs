//! What a daemon is asked from outside: which workers it has, and who it is.

use std::path::Path;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::types::BuildkitVersion;
use bollard_buildkit_proto::moby::buildkit::v1::{InfoRequest, ListWorkersRequest};
use hyper_util::rt::TokioIo;
use kiln_engine::oci::Platform;
use kiln_engine::{Error, ErrorKind, Result};
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::workers::platform_of;

/// A worker of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// What it is called.
    pub id: String,
    /// Its labels, sorted.
    pub labels: Vec<(String, String)>,
    /// What it builds for.
    pub platforms: Vec<Platform>,
    /// Package, version and revision of BuildKit.
    pub version: [String; 3],
}

/// The workers of the daemon that listens at `socket`, within `patience`.
pub async fn workers(socket: &Path, patience: Duration) -> Result<Vec<Worker>> {
    let asked = async {
        let mut client = ControlClient::new(connect(socket).await?);
        let answer = client.list_workers(ListWorkersRequest { filter: Vec::new() }).await;
        Ok(answer.map_err(|status| refused(&status))?.into_inner().record)
    };
    let records = within(socket, patience, asked).await?;
    let worker = records.into_iter().map(|record| {
        let mut labels: Vec<_> = record.labels.into_iter().collect();
        labels.sort();
        let platforms = record.platforms.iter().map(|one| platform_of(Some(one)));
        Worker {
            id: record.id,
            labels,
            platforms: platforms.collect(),
            version: version(record.buildkit_version),
        }
    });
    Ok(worker.collect())
}

/// Package, version and revision of the daemon that listens at `socket`.
pub async fn info(socket: &Path, patience: Duration) -> Result<[String; 3]> {
    let asked = async {
        let mut client = ControlClient::new(connect(socket).await?);
        let answer = client.info(InfoRequest {}).await;
        Ok(answer.map_err(|status| refused(&status))?.into_inner().buildkit_version)
    };
    within(socket, patience, asked).await.map(version)
}

fn version(version: Option<BuildkitVersion>) -> [String; 3] {
    let BuildkitVersion { package, version, revision } = version.unwrap_or_default();
    [package, version, revision]
}

async fn connect(socket: &Path) -> Result<Channel> {
    let path = socket.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let connected = Endpoint::from_static("http://buildkitd").connect_with_connector(connector).await;
    connected.map_err(|error| {
        let message = format!("cannot connect to `unix://{}`", socket.display());
        Error::new(ErrorKind::Unavailable, message).caused_by(error)
    })
}

async fn within<T>(socket: &Path, patience: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| {
        let message = format!("`unix://{}` did not answer within {} s", socket.display(), patience.as_secs());
        Error::new(ErrorKind::Unavailable, message)
    };
    tokio::time::timeout(patience, asked).await.map_err(late)?
}

fn refused(status: &Status) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the daemon answered: {}", status.message()))
}
