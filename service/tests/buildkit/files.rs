//! The client's side of file transfers, as BuildKit's clients do it: folders are sent and results received.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::health::health_server::Health;
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::filesync::packet::file_send_server::{
    FileSend as SendTree, FileSendServer as TreeServer,
};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSync;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::{
    FileSend as SendBytes, FileSendServer as BytesServer,
};
use futures_util::Stream;
use kiln_graph::ignore::IgnoreFile;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tower::Service;

use super::client::Messages;
use super::policy::Verifier;

const DIRECTORY: u32 = 1 << 31;
/// Bytes of a file in one message.
const CHUNK: usize = 1 << 20;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Folders that a client serves, and what it receives.
#[derive(Clone, Default)]
pub(crate) struct Files {
    folders: BTreeMap<String, PathBuf>,
    sent: Arc<Mutex<Vec<String>>>,
    received: Arc<Mutex<Received>>,
    /// Which sources it allows.
    pub(crate) verifier: Verifier,
}

/// What came, by the number of the exporter.
#[derive(Clone, Default)]
pub(crate) struct Received {
    pub(crate) trees: BTreeMap<u64, BTreeMap<String, Vec<u8>>>,
    pub(crate) streams: BTreeMap<u64, Vec<u8>>,
}

impl Files {
    pub(crate) fn of(folders: &[(&str, &Path)]) -> Files {
        let folders = folders.iter().map(|(name, path)| ((*name).to_owned(), path.to_path_buf()));
        Files { folders: folders.collect(), ..Files::default() }
    }

    /// The names of files whose content travelled since this was last asked, sorted.
    pub(crate) fn sent(&self) -> Vec<String> {
        let mut sent = std::mem::take(&mut *self.sent.lock().unwrap());
        sent.sort();
        sent
    }

    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }

    /// Both forms of `FileSend` behind one name, told apart by what the exporter is.
    pub(crate) fn send_server(&self) -> Sends {
        Sends(self.clone())
    }
}

fn words<T>(request: &Request<T>, key: &'static str) -> Vec<String> {
    request.metadata().get_all(key).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn exporter<T>(request: &Request<T>) -> u64 {
    words(request, "buildkit-attachable-exporter-id")[0].parse().unwrap()
}

/// The files that are asked for, in the order of a walk.
fn walk(root: &Path, follow: &[String], exclude: &[String]) -> Vec<(String, PathBuf)> {
    let rules = IgnoreFile::parse(exclude.join("\n").as_bytes()).unwrap();
    let wanted = |path: &str| {
        let fits = |follow: &String| {
            let follow = follow.trim_start_matches('/');
            let below = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
            follow.is_empty() || follow == "." || below(path, follow) || below(follow, path)
        };
        (follow.is_empty() || follow.iter().any(fits)) && !rules.decide(path.as_bytes()).excluded
    };
    let (mut found, mut todo) = (Vec::new(), vec![(String::new(), root.to_owned())]);
    while let Some((path, place)) = todo.pop() {
        if !path.is_empty() {
            if !wanted(&path) {
                continue;
            }
            found.push((path.clone(), place.clone()));
        }
        if place.is_dir() {
            let mut names: Vec<_> =
                std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort_by(|a, b| b.cmp(a));
            let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            todo.extend(names.iter().map(|name| (join(name.to_str().unwrap()), place.join(name))));
        }
    }
    found
}

fn stat(path: &str, place: &Path) -> Stat {
    let meta = std::fs::symlink_metadata(place).unwrap();
    let kind = if meta.is_dir() { DIRECTORY } else { 0 };
    Stat {
        path: path.to_owned(),
        mode: kind | meta.permissions().mode() & 0o777,
        size: if meta.is_dir() { 0 } else { meta.size() as i64 },
        mod_time: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
        ..Stat::default()
    }
}

fn packet(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = Answers<Packet>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let name = words(&request, "dir-name").remove(0);
        let missing = || Status::not_found(format!("no access allowed to dir {name:?}"));
        let root = self.folders.get(&name).ok_or_else(missing)?;
        let mut follow = words(&request, "followpaths");
        follow.extend(words(&request, "include-patterns"));
        let files = walk(root, &follow, &words(&request, "exclude-patterns"));
        let mut asked = request.into_inner();
        let (sender, receiver) = mpsc::channel(8);
        let sent = self.sent.clone();
        tokio::spawn(async move {
            for (path, place) in &files {
                let stat = Some(stat(path, place));
                sender.send(Ok(Packet { stat, ..packet(PacketType::PacketStat) })).await.unwrap();
            }
            sender.send(Ok(packet(PacketType::PacketStat))).await.unwrap();
            while let Ok(Some(next)) = asked.message().await {
                match next.r#type() {
                    PacketType::PacketReq => {
                        let (path, place) = &files[next.id as usize];
                        sent.lock().unwrap().push(path.rsplit('/').next().unwrap().to_owned());
                        let data = std::fs::read(place).unwrap();
                        for data in data.chunks(CHUNK).map(<[u8]>::to_vec).chain([Vec::new()]) {
                            let data = Packet { id: next.id, data, ..packet(PacketType::PacketData) };
                            sender.send(Ok(data)).await.unwrap();
                        }
                    }
                    PacketType::PacketFin => {
                        sender.send(Ok(packet(PacketType::PacketFin))).await.unwrap();
                        return;
                    }
                    _ => return,
                }
            }
        });
        Ok(Response::new(Box::pin(Messages(receiver))))
    }

    type TarStreamStream = Answers<Packet>;

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("tar"))
    }
}

#[tonic::async_trait]
impl SendTree for Files {
    type DiffCopyStream = Answers<Packet>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let number = exporter(&request);
        let mut coming = request.into_inner();
        let (sender, receiver) = mpsc::channel(8);
        let received = self.received.clone();
        tokio::spawn(async move {
            let (mut names, mut waits, mut listed) = (Vec::new(), 0, false);
            let mut tree = BTreeMap::<String, Vec<u8>>::new();
            while let Ok(Some(next)) = coming.message().await {
                match (next.r#type(), next.stat) {
                    (PacketType::PacketStat, Some(stat)) => {
                        if stat.mode & DIRECTORY == 0 {
                            waits += 1;
                            let id = names.len() as u32;
                            sender.send(Ok(Packet { id, ..packet(PacketType::PacketReq) })).await.unwrap();
                        }
                        names.push(stat.path);
                    }
                    (PacketType::PacketStat, None) => listed = true,
                    (PacketType::PacketData, _) => {
                        waits -= i32::from(next.data.is_empty());
                        tree.entry(names[next.id as usize].clone()).or_default().extend(next.data);
                    }
                    (PacketType::PacketFin, _) => break,
                    _ => {}
                }
                if listed && waits == 0 {
                    sender.send(Ok(packet(PacketType::PacketFin))).await.unwrap();
                    listed = false;
                }
            }
            received.lock().unwrap().trees.insert(number, tree);
        });
        Ok(Response::new(Box::pin(Messages(receiver))))
    }
}

#[tonic::async_trait]
impl SendBytes for Files {
    type DiffCopyStream = Answers<BytesMessage>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let number = exporter(&request);
        let mut coming = request.into_inner();
        let mut all = Vec::new();
        while let Some(message) = coming.message().await? {
            all.extend(message.data);
        }
        self.received.lock().unwrap().streams.insert(number, all);
        Ok(Response::new(Box::pin(futures_util::stream::empty())))
    }
}

/// `FileSend` of both kinds. Trees say that they are for all platforms; nothing else does.
#[derive(Clone)]
pub(crate) struct Sends(Files);

impl NamedService for Sends {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

impl Service<hyper::Request<Body>> for Sends {
    type Response = hyper::Response<Body>;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        let files = self.0.clone();
        match request.headers().contains_key("buildkit-exporter-multi-platform") {
            true => Service::call(&mut TreeServer::new(files), request),
            false => Service::call(&mut BytesServer::new(files), request),
        }
    }
}

/// A client that is well.
pub(crate) struct Well;

#[tonic::async_trait]
impl Health for Well {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Ok(Response::new(HealthListResponse::default()))
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(Box::pin(futures_util::stream::empty())))
    }
}
