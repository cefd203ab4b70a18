//! Builds that begin with what other builds make, as `bake` links its targets.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend;
use bollard_buildkit_proto::pb;

use super::client::{Daemon, Files, solve};
use super::{context, exporter, folder, graphs};

/// What a client solves of a Dockerfile.
fn dockerfile(
    attributes: &[(&str, &str)],
    inputs: HashMap<String, pb::Definition>,
) -> frontend::SolveRequest {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    frontend::SolveRequest {
        frontend: "dockerfile.v0".to_owned(),
        frontend_opt: attributes.collect(),
        frontend_inputs: inputs,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_begins_with_what_another_makes() {
    let daemon = Daemon::start().await;
    let base = context("FROM scratch\nCOPY a /base/a\nENV K=v\nONBUILD COPY d /triggered/\n");
    let child = folder(&[("Dockerfile", "FROM linked\nCOPY --from=linked /base/a /$K\n"), ("d/b", "two")]);
    let session =
        |folder: &tempfile::TempDir| Files::of(&[("context", folder.path()), ("dockerfile", folder.path())]);
    let (of_base, of_child) = (session(&base), session(&child));
    let _sessions =
        (daemon.session("s1", "", of_base.clone()).await, daemon.session("s2", "", of_child.clone()).await);
    let begin = |reference: &str, session: &str, exporters| {
        let request =
            wire::SolveRequest { frontend: String::new(), ..solve(reference, session, &[], exporters) };
        let control = daemon.control();
        async { control.await.solve(request).await }
    };
    let (first, second) = (begin("r1", "s1", Vec::new()), begin("r2", "s2", vec![exporter("local", &[])]));
    let clients = async {
        let mut bridge = daemon.bridge("r1").await;
        let pong = bridge.ping(frontend::PingRequest {}).await.unwrap().into_inner();
        assert!(pong.frontend_api_caps.iter().any(|cap| cap.id == "reference.output"));
        let result =
            bridge.solve(dockerfile(&[], HashMap::new())).await.unwrap().into_inner().result.unwrap();
        let Some(frontend::result::Result::Ref(reference)) = result.result.clone() else { panic!("no ref") };
        let config = STANDARD.encode(&result.metadata["containerimage.config"]);
        let metadata = format!(r#"{{"containerimage.config":"{config}"}}"#);
        let attributes =
            [("context:linked", "input:target:base"), ("input-metadata:target:base", &*metadata)];
        let inputs = HashMap::from([("target:base".to_owned(), reference.def.unwrap())]);
        let mut other = daemon.bridge("r2").await;
        let linked = other.solve(dockerfile(&attributes, inputs)).await.unwrap().into_inner().result;
        other.r#return(frontend::ReturnRequest { result: linked, error: None }).await.unwrap();
        let unknown = dockerfile(&[("context:linked", "input:nobody")], HashMap::new());
        let error = bridge.solve(unknown).await.unwrap_err();
        assert!(error.message().contains("there is no such input"), "{}", error.message());
        bridge.r#return(frontend::ReturnRequest { result: Some(result), error: None }).await.unwrap();
    };
    let (first, second, ()) = tokio::join!(first, second, clients);
    first.unwrap();
    second.unwrap();
    let received = of_child.received();
    let mut paths: Vec<&str> = received.trees[&0].keys().map(String::as_str).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["base/a", "triggered/b", "v"]);
    assert_eq!(of_base.sent(), ["Dockerfile", "a"], "its own client sends its files");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_of_a_client_is_a_context_and_a_result_that_is_none_is_not() {
    let daemon = Daemon::start().await;
    let dir = folder(&[("Dockerfile", "FROM linked\nCOPY --from=linked /new /copied\n"), ("a", "one")]);
    let folders = [("context", dir.path()), ("dockerfile", dir.path()), ("src", dir.path())];
    let files = Files::of(&folders);
    let _session = daemon.session("s", "", files.clone()).await;
    let request = |reference: &str, graph| wire::SolveRequest {
        frontend_inputs: HashMap::from([("x".to_owned(), graph)]),
        ..solve(reference, "s", &[("context:linked", "input:x")], vec![exporter("local", &[])])
    };
    daemon.control().await.solve(request("r", graphs::graph())).await.unwrap();
    assert_eq!(files.received().trees[&0]["copied"], b"made");
    for (number, result) in ["kiln-result://r/kiln-1", "kiln-result:///etc"].into_iter().enumerate() {
        let mut graph = pb::Definition::default();
        let source = pb::SourceOp { identifier: result.to_owned(), ..Default::default() };
        let source = pb::Op { op: Some(pb::op::Op::Source(source)), ..Default::default() };
        let source = graphs::push(&mut graph, &source);
        graphs::push(&mut graph, &pb::Op { inputs: vec![source], ..Default::default() });
        let asked = request(&format!("r{number}"), graph);
        assert!(daemon.control().await.solve(asked).await.is_err(), "{result}");
    }
}
