//! A daemon on a unix socket, and what a client of it needs.

use std::path::PathBuf;

use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSyncServer;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use kiln_engine::{CancellationToken, Config, Engine};
use kiln_service::buildkit::{BuildKit, CONNECTION_WINDOW, Options, STREAM_WINDOW};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;

pub(crate) use super::files::Files;
use super::files::Well;

/// A server with a state of its own.
pub(crate) struct Daemon {
    socket: PathBuf,
    pub(crate) engine: Engine,
    pub(crate) kit: BuildKit,
    pub(crate) stop: CancellationToken,
    _dir: tempfile::TempDir,
    _accepting: Aborted,
}

/// A session; it ends when this is dropped.
pub(crate) struct Session {
    _pumps: [Aborted; 3],
}

struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Daemon {
    pub(crate) async fn start() -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(Config::new(dir.path().join("state"))).unwrap();
        let socket = dir.path().join("socket");
        let stop = CancellationToken::new();
        let kit = BuildKit::new(engine.clone(), Options::default(), stop.clone());
        let (listener, routes) = (UnixListener::bind(&socket).unwrap(), kit.routes());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(routes.clone());
                tokio::spawn(async move {
                    drop(connection().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Daemon { socket, engine, kit, stop, _dir: dir, _accepting: Aborted(accepting) }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let socket = self.socket.clone();
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://daemon").connect_with_connector(connector).await.unwrap()
    }

    pub(crate) async fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel().await)
    }

    /// The client's side of a build.
    pub(crate) async fn bridge(&self, build: &str) -> LlbBridgeClient<InterceptedService<Channel, OfBuild>> {
        LlbBridgeClient::with_interceptor(self.channel().await, OfBuild(build.parse().unwrap()))
    }

    /// Opens a session that serves `files`.
    pub(crate) async fn session(&self, id: &str, shared_key: &str, files: Files) -> Session {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let serving = tokio::spawn(serve(theirs, files));
        let (mut read, mut write) = tokio::io::split(ours);
        let (sender, receiver) = mpsc::channel(8);
        let mut request = Request::new(Messages(receiver));
        let words = [("uuid", id), ("name", "test"), ("sharedkey", shared_key)];
        for (key, value) in words {
            let key = format!("x-docker-expose-session-{key}")
                .parse::<tonic::metadata::AsciiMetadataKey>()
                .unwrap();
            request.metadata_mut().insert(key, value.parse().unwrap());
        }
        let files = ["/moby.filesync.v1.FileSync/DiffCopy", "/moby.filesync.v1.FileSend/DiffCopy"];
        for method in files.into_iter().chain([super::policy::METHOD]) {
            request.metadata_mut().append("x-docker-expose-session-grpc-method", method.parse().unwrap());
        }
        let mut answers = self.control().await.session(request).await.unwrap().into_inner();
        let sending = tokio::spawn(async move {
            let mut bytes = vec![0; 32 << 10];
            while let Ok(count @ 1..) = read.read(&mut bytes).await {
                let message = wire::BytesMessage { data: bytes[..count].to_vec() };
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        });
        let receiving = tokio::spawn(async move {
            while let Ok(Some(message)) = answers.message().await {
                if write.write_all(&message.data).await.is_err() {
                    return;
                }
            }
        });
        Session { _pumps: [Aborted(serving), Aborted(sending), Aborted(receiving)] }
    }

    /// Everything that was told of a build, when it is over.
    pub(crate) async fn status(&self, reference: &str) -> wire::StatusResponse {
        let request = wire::StatusRequest { r#ref: reference.to_owned() };
        let mut stream = self.control().await.status(request).await.unwrap().into_inner();
        let mut all = wire::StatusResponse::default();
        while let Some(told) = stream.message().await.unwrap() {
            all.vertexes.extend(told.vertexes);
            all.logs.extend(told.logs);
        }
        all
    }

    /// The records of builds.
    pub(crate) async fn history(&self) -> Vec<wire::BuildHistoryRecord> {
        let request = wire::BuildHistoryRequest { early_exit: true, ..Default::default() };
        let mut stream = self.control().await.listen_build_history(request).await.unwrap().into_inner();
        let mut records = Vec::new();
        while let Some(event) = stream.message().await.unwrap() {
            records.extend(event.record);
        }
        records
    }
}

fn connection() -> auto::Builder<TokioExecutor> {
    let mut connection = auto::Builder::new(TokioExecutor::new());
    connection
        .http2()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    connection
}

/// The client's side of a session: it serves `files` on the connection.
pub(crate) async fn serve(io: tokio::io::DuplexStream, files: Files) {
    let service = tonic::service::Routes::new(HealthServer::new(Well))
        .add_service(FileSyncServer::new(files.clone()))
        .add_service(files.send_server())
        .add_service(files.verifier.clone())
        .prepare()
        .into_axum_router();
    drop(connection().serve_connection(TokioIo::new(io), TowerToHyperService::new(service)).await);
}

/// A request to build the Dockerfile of a session.
pub(crate) fn solve(
    reference: &str,
    session: &str,
    attributes: &[(&str, &str)],
    exporters: Vec<wire::Exporter>,
) -> wire::SolveRequest {
    wire::SolveRequest {
        r#ref: reference.to_owned(),
        session: session.to_owned(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        exporters,
        ..Default::default()
    }
}

/// Bytes as text, as well as that goes.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says which build a call is about.
#[derive(Clone)]
pub(crate) struct OfBuild(MetadataValue<tonic::metadata::Ascii>);

impl Interceptor for OfBuild {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("buildkit-controlapi-buildid", self.0.clone());
        Ok(request)
    }
}

/// What a channel gives, as a stream.
pub(crate) struct Messages<T>(pub(crate) mpsc::Receiver<T>);

impl<T> futures_util::Stream for Messages<T> {
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}
