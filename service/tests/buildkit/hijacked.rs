//! Connections that were taken over from HTTP: `/grpc` and `/session` of the Engine API.

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use futures_util::StreamExt as _;
use hyper::HeaderMap;
use hyper_util::rt::TokioIo;
use kiln_engine::{CancellationToken, Config, Engine};
use kiln_service::buildkit::{BuildKit, Options};
use tonic::transport::Endpoint;
use tower::service_fn;

use super::client::{Files, serve, solve};
use super::{context, exporter};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_http_becomes_grpc_and_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let kit = BuildKit::new(
        Engine::open(Config::new(dir.path().join("state"))).unwrap(),
        Options::default(),
        CancellationToken::new(),
    );

    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let server = kit.clone();
    tokio::spawn(async move { server.serve_grpc(theirs, None).await });
    let mut ours = Some(TokioIo::new(ours));
    let connector = service_fn(move |_| std::future::ready(ours.take().ok_or(std::fmt::Error)));
    let channel = Endpoint::from_static("http://daemon").connect_with_connector(connector).await.unwrap();
    assert!(ControlClient::new(channel).info(wire::InfoRequest {}).await.is_ok());

    let files = context("FROM scratch\nCOPY a /\n");
    let offered = Files::of(&[("context", files.path()), ("dockerfile", files.path())]);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let client = tokio::spawn(serve(theirs, offered.clone()));
    let mut headers = HeaderMap::new();
    assert!(kit.serve_session(&headers, tokio::io::empty()).await.is_err(), "a session without a name");
    headers.insert("x-docker-expose-session-uuid", "s".parse().unwrap());
    for method in ["/moby.filesync.v1.FileSync/DiffCopy", "/moby.filesync.v1.FileSend/DiffCopy"] {
        headers.append("x-docker-expose-session-grpc-method", method.parse().unwrap());
    }
    let server = kit.clone();
    let session = tokio::spawn(async move { server.serve_session(&headers, ours).await });
    let (told, answer) = kit.begin(solve("r", "s", &[], vec![exporter("local", &[])]), None).unwrap();
    answer.await.unwrap();
    assert_eq!(offered.received().trees[&0]["a"], b"one");
    assert!(told.count().await > 0);
    client.abort();
    session.await.unwrap().unwrap();
}
