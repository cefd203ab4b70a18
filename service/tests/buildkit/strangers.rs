//! What strangers send (B06, A11): messages that are almost right and bytes that are nothing. Each is an answer or an error,
//! and the daemon lives.

use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend;
use bollard_buildkit_proto::pb;
use hyper::HeaderMap;
use kiln_engine::CancellationToken;
use kiln_service::server::{Address, Control, ServeOptions, Settings, serve};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::client::{Daemon, Files, solve};
use super::{context, exporter};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// What a caller hears of a task that panicked.
const BROKE_OFF: &str = "broke off";

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// The same with some bytes changed, taken out or put in, or cut off.
    fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.insert(at, self.next() as u8),
                _ if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
        bytes
    }

    /// A message of which some bytes are others, if it still is one.
    fn like<M: Message + Default>(&mut self, message: &M) -> Option<M> {
        M::decode(&self.change(&message.encode_to_vec())[..]).ok()
    }
}

fn definition() -> pb::Definition {
    let source = pb::SourceOp { identifier: "local://context".to_owned(), ..Default::default() };
    let source = pb::Op { op: Some(pb::op::Op::Source(source)), ..Default::default() }.encode_to_vec();
    let digest = kiln_engine::oci::Digest::of(&source).to_string();
    let root = pb::Op { inputs: vec![pb::Input { digest, index: 0 }], ..Default::default() };
    pb::Definition { def: vec![source, root.encode_to_vec()], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_almost_right_are_answered() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY a /\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "key", files).await;
    let attributes =
        [("target", "t"), ("build-arg:A", "1"), ("platform", "linux/amd64"), ("add-hosts", "a=1.2.3.4")];
    let exporters = vec![exporter("image", &[("name", "a:1")]), exporter("oci", &[])];
    let dockerfile = wire::SolveRequest { r#ref: "ref".to_owned(), ..solve("", "s", &attributes, exporters) };
    let graph =
        wire::SolveRequest { frontend: String::new(), definition: Some(definition()), ..dockerfile.clone() };
    let mut numbers = Numbers(1);
    let mut tried = 0;
    while tried < 150 {
        let Some(mut request) = numbers.like(if tried % 2 == 0 { &dockerfile } else { &graph }) else {
            continue;
        };
        tried += 1;
        request.r#ref = tried.to_string();
        // One that is awaited for its five seconds is not what is looked for.
        if request.session != "s" {
            request.session.clear();
        }
        if request.frontend.is_empty() && request.definition.is_none() {
            continue;
        }
        let answer = timeout(LONG, daemon.kit.solve(request.clone())).await.expect("no answer");
        if let Err(status) = answer {
            assert!(!status.message().contains(BROKE_OFF), "{request:?}: {status}");
        }
    }
    assert!(daemon.control().await.info(wire::InfoRequest {}).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_solves_nonsense_hurts_nobody() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY a /\n");
    let _session = daemon.session("s", "key", Files::of(&[("context", dir.path())])).await;
    let request = wire::SolveRequest { frontend: String::new(), ..solve("r", "s", &[], Vec::new()) };
    let mut control = daemon.control().await;
    let solving = tokio::spawn(async move { control.solve(request).await });
    let mut bridge = daemon.bridge("r").await;
    let whole = frontend::SolveRequest { definition: Some(definition()), ..Default::default() };
    let kept = bridge.solve(whole.clone()).await.unwrap().into_inner();
    let Some(frontend::result::Result::Ref(kept)) = kept.result.unwrap().result else { panic!("no ref") };
    let read =
        frontend::ReadFileRequest { r#ref: kept.id.clone(), file_path: "a".to_owned(), ..Default::default() };
    assert_eq!(bridge.read_file(read.clone()).await.unwrap().into_inner().data, b"one");
    let mut numbers = Numbers(2);
    for _ in 0..100 {
        if let Some(request) = numbers.like(&whole) {
            let answer = timeout(LONG, bridge.solve(request.clone())).await.expect("no answer");
            assert!(!answer.is_err_and(|status| status.message().contains(BROKE_OFF)), "{request:?}");
        }
        if let Some(request) = numbers.like(&read) {
            drop(timeout(LONG, bridge.read_file(request)).await.expect("no answer"));
        }
        let path = String::from_utf8_lossy(&numbers.bytes(12)).into_owned();
        let dir = frontend::ReadDirRequest {
            r#ref: kept.id.clone(),
            dir_path: path.clone(),
            include_pattern: path,
            ..Default::default()
        };
        drop(timeout(LONG, bridge.read_dir(dir)).await.expect("no answer"));
    }
    let platforms = [("refs.platforms".to_owned(), b"{\"Platforms\":7}".to_vec())].into();
    let refs = frontend::RefMap { refs: [("a".to_owned(), kept)].into() };
    let result = Some(frontend::result::Result::Refs(refs));
    let result = frontend::Result { result, metadata: platforms, ..Default::default() };
    let wrong = frontend::ReturnRequest { result: Some(result), error: None };
    assert!(bridge.r#return(wrong).await.is_err());
    let error = Some(bollard_buildkit_proto::google::rpc::Status {
        code: 3,
        message: "no".to_owned(),
        details: Vec::new(),
    });
    bridge.r#return(frontend::ReturnRequest { result: None, error }).await.unwrap();
    assert_eq!(solving.await.unwrap().unwrap_err().message(), "no");
}

/// A session is a connection on which the daemon asks: what answers may be anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_speak_nonsense_end() {
    let daemon = Daemon::start().await;
    // The settings that HTTP/2's other side begins with.
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut numbers = Numbers(3);
    for number in 0..60 {
        let said = match number % 3 {
            0 => numbers.bytes(200),
            1 => [&settings[..], &numbers.bytes(200)].concat(),
            _ => numbers.change(&[settings, settings, settings].concat()),
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-docker-expose-session-uuid", format!("s{number}").parse().unwrap());
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let kit = daemon.kit.clone();
        let served = tokio::spawn(async move { kit.serve_session(&headers, theirs).await });
        drop(ours.write_all(&said).await);
        drop(ours);
        // Whether it began or not, it is over.
        drop(timeout(LONG, served).await.expect("a session does not end").expect("it broke off"));
    }
    assert!(daemon.control().await.info(wire::InfoRequest {}).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_at_the_door_are_answered_or_not_and_others_are() {
    let daemon = Daemon::start().await;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kiln.sock");
    let options = ServeOptions { addresses: vec![Address::Unix(socket.clone())], ..ServeOptions::default() };
    let (engine, stop) = (daemon.engine.clone(), daemon.stop.clone());
    let (_nobody, reload) = tokio::sync::mpsc::channel(1);
    let read = Box::new(|| Ok(Settings::default()));
    let control = Control { stop, hurry: CancellationToken::new(), reload, read };
    let serving = tokio::spawn(async move { serve(engine, &options, control).await });
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let preface =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x05\x01\x05\0\0\0\x01\x82\x86\x84\x41\x00";
    let whole: [&[u8]; 5] = [
        b"GET /v1.44/containers/json?all=1&filters=%7B%22status%22%3A%5B%22running%22%5D%7D HTTP/1.1\r\nHost: d\r\n\r\n",
        b"POST /containers/create?name=a HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"Image\":\"a\"}",
        b"POST /build?t=a HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nFROM\r\n0\r\n\r\n",
        b"POST /session HTTP/1.1\r\nHost: d\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: a\r\n\r\n\0\0\0\x04",
        preface,
    ];
    let mut numbers = Numbers(4);
    for number in 0..300 {
        let said = match number % 10 {
            0 => numbers.bytes(300),
            1 => [&preface[..24], &numbers.bytes(300)].concat(),
            _ => {
                let one = numbers.below(whole.len());
                numbers.change(whole[one])
            }
        };
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        drop(stream.write_all(&said).await);
        drop(stream.shutdown().await);
        let mut answer = Vec::new();
        drop(timeout(Duration::from_millis(20), stream.read_to_end(&mut answer)).await);
    }
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    daemon.stop.cancel();
    timeout(LONG, serving).await.expect("it does not stop").unwrap().unwrap();
}
