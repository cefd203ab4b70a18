//! Graphs that clients write themselves.

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::pb;
use kiln_engine::oci::Digest;
use prost::Message as _;

use super::client::{Daemon, Files, solve};
use super::{exporter, folder};

pub(crate) fn push(definition: &mut pb::Definition, op: &pb::Op) -> pb::Input {
    let bytes = op.encode_to_vec();
    let digest = Digest::of(&bytes).to_string();
    definition.def.push(bytes);
    pb::Input { digest, index: 0 }
}

/// A file written onto a copy of a folder.
pub(crate) fn graph() -> pb::Definition {
    let mut definition = pb::Definition::default();
    let source = pb::SourceOp { identifier: "local://src".to_owned(), ..Default::default() };
    let source = pb::Op { op: Some(pb::op::Op::Source(source)), ..Default::default() };
    let source = push(&mut definition, &source);
    let path = "/new".to_owned();
    let mkfile = pb::FileActionMkFile { path, mode: 0o640, data: b"made".to_vec(), ..Default::default() };
    let action = Some(pb::file_action::Action::Mkfile(mkfile));
    let action = pb::FileAction { input: 0, secondary_input: -1, output: 0, action };
    let file = pb::op::Op::File(pb::FileOp { actions: vec![action] });
    let file = push(&mut definition, &pb::Op { inputs: vec![source], op: Some(file), ..Default::default() });
    let described = pb::OpMetadata {
        description: [("llb.customname".to_owned(), "my own name".to_owned())].into(),
        ..Default::default()
    };
    definition.metadata.insert(file.digest.clone(), described);
    push(&mut definition, &pb::Op { inputs: vec![file], ..Default::default() });
    definition
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_is_solved_and_shown_by_its_own_digests() {
    let daemon = Daemon::start().await;
    let dir = folder(&[("a", "one"), ("d/b", "two")]);
    let files = Files::of(&[("src", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let definition = graph();
    let named = definition.metadata.keys().next().unwrap().clone();
    let request = wire::SolveRequest {
        frontend: String::new(),
        definition: Some(definition),
        ..solve("r", "s", &[], vec![exporter("local", &[])])
    };
    daemon.control().await.solve(request).await.unwrap();
    let received = files.received();
    assert_eq!((&received.trees[&0]["new"][..], &received.trees[&0]["d/b"][..]), (&b"made"[..], &b"two"[..]));
    let told = daemon.status("r").await;
    let vertex = told.vertexes.iter().rfind(|vertex| vertex.digest == named).unwrap();
    assert_eq!(vertex.name, "my own name");
    assert!(vertex.completed.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_that_is_none_is_an_error_and_the_daemon_lives() {
    let daemon = Daemon::start().await;
    let mut control = daemon.control().await;
    let broken = pb::Definition { def: vec![b"\xff\xff\xff".to_vec()], ..Default::default() };
    let request = wire::SolveRequest {
        frontend: String::new(),
        definition: Some(broken),
        ..solve("r", "", &[], Vec::new())
    };
    assert!(control.solve(request).await.unwrap_err().message().contains("build graph"));
    assert!(control.info(wire::InfoRequest {}).await.is_ok());
}
