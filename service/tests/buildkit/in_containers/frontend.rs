//! A frontend, as BuildKit runs them: it calls on its standard input and output, and finds what it is asked in variables.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::pb;
use hyper_util::rt::TokioIo;
use kiln_engine::oci::Digest;
use prost::Message as _;
use tokio::net::unix::pipe::{Receiver, Sender};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// What images are made with.
const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{"Env":["BY=frontend"]},"rootfs":{"type":"layers","diff_ids":null}}"#;

pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run())
}

async fn run() -> ExitCode {
    let options: BTreeMap<String, String> = std::env::vars()
        .filter(|(key, _)| key.starts_with("BUILDKIT_FRONTEND_OPT_"))
        .filter_map(|(_, value)| value.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let mut bridge = LlbBridgeClient::new(connect().await);
    bridge.ping(wire::PingRequest {}).await.unwrap();
    match options.get("build-arg:MODE").map(String::as_str) {
        Some("refuse") => {
            let error =
                rpc::Status { code: 2, message: "the frontend says no".to_owned(), details: Vec::new() };
            bridge.r#return(wire::ReturnRequest { result: None, error: Some(error) }).await.unwrap();
            return ExitCode::FAILURE;
        }
        Some("die") => {
            eprintln!("last words");
            return ExitCode::from(7);
        }
        Some("leave") => return ExitCode::SUCCESS,
        _ => {}
    }
    let mut inputs = bridge.inputs(wire::InputsRequest {}).await.unwrap().into_inner().definitions;
    let definition = inputs.remove("base").unwrap_or_else(|| file("/made", &told(&options)));
    let solve = wire::SolveRequest {
        definition: Some(definition),
        allow_result_return: true,
        allow_result_array_ref: true,
        ..Default::default()
    };
    let mut result = bridge.solve(solve).await.unwrap().into_inner().result.unwrap();
    result.metadata = HashMap::from([("containerimage.config".to_owned(), CONFIG.as_bytes().to_vec())]);
    bridge.r#return(wire::ReturnRequest { result: Some(result), error: None }).await.unwrap();
    ExitCode::SUCCESS
}

/// What it was told, a line each.
fn told(options: &BTreeMap<String, String>) -> String {
    let mut lines: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    lines.push(format!("session {}", variable("BUILDKIT_SESSION_ID")));
    lines.push(format!("workers {}", variable("BUILDKIT_WORKERS")));
    lines.push(format!("own {}", variable("OWN")));
    let graph = std::fs::read("/run/config/buildkit/metadata/frontend.bin").unwrap_or_default();
    lines.push(format!("graph {}", pb::Definition::decode(&graph[..]).map_or(0, |graph| graph.def.len())));
    lines.push(format!("root {}", std::path::Path::new("/etc/passwd").exists()));
    lines.join("\n")
}

/// A file on nothing.
fn file(path: &str, text: &str) -> pb::Definition {
    let (path, data) = (path.to_owned(), text.as_bytes().to_vec());
    let mkfile = pb::FileActionMkFile { path, mode: 0o644, data, ..Default::default() };
    let action = Some(pb::file_action::Action::Mkfile(mkfile));
    let action = pb::FileAction { input: -1, secondary_input: -1, output: 0, action };
    let op = pb::op::Op::File(pb::FileOp { actions: vec![action] });
    let bytes = pb::Op { op: Some(op), ..Default::default() }.encode_to_vec();
    let input = pb::Input { digest: Digest::of(&bytes).to_string(), index: 0 };
    let root = pb::Op { inputs: vec![input], ..Default::default() }.encode_to_vec();
    pb::Definition { def: vec![bytes, root], ..Default::default() }
}

async fn connect() -> Channel {
    let read = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let write = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    let io = tokio::io::join(Receiver::from_owned_fd(read).unwrap(), Sender::from_owned_fd(write).unwrap());
    let mut io = Some(TokioIo::new(io));
    let once = service_fn(move |_| {
        let io = io.take().ok_or_else(|| std::io::Error::other("there is one connection"));
        async move { io }
    });
    Endpoint::from_static("http://daemon").connect_with_connector(once).await.unwrap()
}
