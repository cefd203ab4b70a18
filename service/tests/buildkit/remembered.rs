//! What is kept of builds: their records, and what the records point to.

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use kiln_engine::oci::Digest;
use prost::Message as _;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::client::{Daemon, Files, solve, text};
use super::{context, exporter};

/// `containerd.services.content.v1.ReadContentRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Read {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    offset: i64,
    #[prost(int64, tag = "3")]
    size: i64,
}

/// `containerd.services.content.v1.ReadContentResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Piece {
    #[prost(int64, tag = "1")]
    offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

async fn read(daemon: &Daemon, read: Read) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(daemon.channel().await);
    client.ready().await.unwrap();
    let codec: ProstCodec<Read, Piece> = ProstCodec::default();
    let path = PathAndQuery::from_static("/containerd.services.content.v1.Content/Read");
    let mut pieces = client.server_streaming(Request::new(read), path, codec).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.message().await? {
        bytes.extend(piece.data);
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_point_to_what_was_said_and_to_why_it_failed() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch AS good\nCOPY a /\nFROM scratch AS bad\nCOPY missing /\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files).await;
    let mut control = daemon.control().await;
    let attributes = [("target", "good"), ("attest:provenance", "mode=min,inline-only=true")];
    control.solve(solve("good", "s", &attributes, vec![exporter("local", &[])])).await.unwrap();
    let several = [attributes[0], attributes[1], ("platform", "linux/amd64,linux/arm64")];
    control.solve(solve("several", "s", &several, Vec::new())).await.unwrap();
    control.solve(solve("bad", "s", &[("target", "bad")], Vec::new())).await.unwrap_err();
    let all = daemon.history().await;
    let of = |name: &str| all.iter().find(|record| record.r#ref == name).unwrap();

    let said = &of("good").result.as_ref().unwrap().attestations[0];
    assert_eq!(said.media_type, "application/vnd.in-toto+json");
    assert_eq!(said.annotations["in-toto.io/predicate-type"], "https://slsa.dev/provenance/v1");
    let whole = Read { digest: said.digest.clone(), ..Read::default() };
    let bytes = read(&daemon, whole.clone()).await.unwrap();
    assert_eq!((Digest::of(&bytes).to_string(), bytes.len() as i64), (said.digest.clone(), said.size));
    assert!(text(&bytes).contains("buildDefinition"));
    let part = read(&daemon, Read { offset: 2, size: 5, ..whole.clone() }).await.unwrap();
    assert_eq!(part, &bytes[2..7]);
    for outside in [Read { offset: said.size + 1, ..whole.clone() }, Read { offset: -1, ..whole.clone() }] {
        assert_eq!(read(&daemon, outside).await.unwrap_err().code(), Code::OutOfRange);
    }
    let unknown = Read { digest: Digest::of(b"unknown").to_string(), ..Read::default() };
    assert_eq!(read(&daemon, unknown).await.unwrap_err().code(), Code::NotFound);
    let mut platforms: Vec<&str> = of("several").results.keys().map(String::as_str).collect();
    platforms.sort_unstable();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);

    let why = of("bad").external_error.as_ref().unwrap();
    let bytes = read(&daemon, Read { digest: why.digest.clone(), ..Read::default() }).await.unwrap();
    let why = rpc::Status::decode(&bytes[..]).unwrap();
    assert!(why.message.contains("missing") && text(&why.details[0].value).contains(r#""line":4"#));
    let forget =
        wire::UpdateBuildHistoryRequest { r#ref: "good".to_owned(), delete: true, ..Default::default() };
    control.update_build_history(forget).await.unwrap();
    assert_eq!(read(&daemon, whole).await.unwrap_err().code(), Code::NotFound, "it goes with its record");
}

/// `buildx` compares the times of builds with the daemon's, and asks for records by filters in one CSV.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_ask_for_some_records_and_for_the_time() {
    let daemon = Daemon::start().await;
    let mut control = daemon.control().await;
    control.solve(solve("bad", "nobody", &[], Vec::new())).await.unwrap_err();
    let ask = |filter: &str| wire::BuildHistoryRequest {
        early_exit: true,
        filter: vec![filter.to_owned()],
        ..Default::default()
    };
    for (filter, count) in [("status==error,startedAt>1h", 1), ("status==completed", 0), ("", 1)] {
        let answer = control.listen_build_history(ask(filter)).await.unwrap();
        let now = answer.metadata().get("buildkit-current-timestamp").unwrap().to_str().unwrap().to_owned();
        assert!(now.ends_with('Z') && now.contains('T'), "{now}");
        let mut answers = answer.into_inner();
        let mut found = 0;
        while answers.message().await.unwrap().is_some() {
            found += 1;
        }
        assert_eq!(found, count, "{filter}");
    }
    assert_eq!(
        control.listen_build_history(ask("color==red")).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}
