//! Frontends that are images.

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend;
use tonic::Code;

use super::client::{Daemon, Files, solve, text};
use super::{context, exporter, graphs, program};

const LABELS: &str = "CMD []\nENTRYPOINT [\"/program\", \"frontend\"]\nLABEL moby.buildkit.frontend.network.none=true moby.buildkit.frontend.caps=moby.buildkit.frontend.inputs,other+x\n";

fn gateway(reference: &str, attributes: &[(&str, &str)]) -> wire::SolveRequest {
    let attributes: Vec<_> =
        [("source", program::IMAGE)].into_iter().chain(attributes.iter().copied()).collect();
    let request = solve(reference, "s", &attributes, vec![exporter("local", &[])]);
    wire::SolveRequest { frontend: "gateway.v0".to_owned(), ..request }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frontend_is_run_and_what_it_returns_is_the_build() {
    let daemon = Daemon::start().await;
    program::make(&daemon, LABELS).await;
    let files = Files::of(&[]);
    let _session = daemon.session("s", "", files.clone()).await;
    let mut control = daemon.control().await;
    control.solve(gateway("made", &[("target", "mine")])).await.unwrap();
    let made = text(&files.received().trees[&0]["made"]);
    let source = format!("source={}", program::IMAGE);
    for line in ["target=mine", &source, "session s", "own image", "graph 2", "root false"] {
        assert!(made.lines().any(|said| said == line), "{line}: {made}");
    }
    assert!(made.contains(r#"workers [{"#) && made.contains(r#""os":"linux""#), "{made}");
    let refused = control.solve(gateway("no", &[("build-arg:MODE", "refuse")])).await.unwrap_err();
    assert_eq!(refused.message(), "the frontend says no");
    let died = control.solve(gateway("dead", &[("build-arg:MODE", "die")])).await.unwrap_err();
    assert!(died.message().contains("exit code 7") && died.message().contains("last words"), "{died:?}");
    let left = control.solve(gateway("left", &[("build-arg:MODE", "leave")])).await.unwrap_err();
    assert!(left.message().contains("no result"), "{left:?}");
    let asked = control.solve(gateway("asked", &[("frontend.caps", "other,more")])).await.unwrap_err();
    assert!(asked.code() == Code::Unimplemented && asked.message().contains("more"), "{asked:?}");
    let missing = control.solve(solve_of("gateway.v0", "nameless")).await.unwrap_err();
    assert!(missing.message().contains("no source"), "{missing:?}");
    assert_eq!(control.solve(solve_of("mine.v0", "strange")).await.unwrap_err().code(), Code::Unimplemented);
}

fn solve_of(frontend: &str, reference: &str) -> wire::SolveRequest {
    wire::SolveRequest { frontend: frontend.to_owned(), ..solve(reference, "s", &[], Vec::new()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_are_a_frontends_graphs() {
    let daemon = Daemon::start().await;
    program::make(&daemon, LABELS).await;
    let dir = context("");
    let files = Files::of(&[("src", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let mut request = gateway("r", &[]);
    request.frontend_inputs.insert("base".to_owned(), graphs::graph());
    daemon.control().await.solve(request).await.unwrap();
    assert_eq!(files.received().trees[&0]["new"], b"made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dockerfile_names_its_frontend() {
    let daemon = Daemon::start().await;
    program::make(&daemon, LABELS).await;
    let dir = context(&format!("# syntax={} and more\nwhatever: this is\n", program::IMAGE));
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let request = solve("r", "s", &[("build-arg:X", "y")], vec![exporter("local", &[])]);
    daemon.control().await.solve(request).await.unwrap();
    let made = text(&files.received().trees[&0]["made"]);
    for line in [format!("cmdline={} and more", program::IMAGE), "build-arg:X=y".to_owned()] {
        assert!(made.lines().any(|said| said == line), "{line}: {made}");
    }
    // Whoever names docker's own gets the one that is built in.
    std::fs::write(dir.path().join("Dockerfile"), "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY a /\n")
        .unwrap();
    daemon.control().await.solve(solve("r2", "s", &[], vec![exporter("local", &[])])).await.unwrap();
    assert_eq!(files.received().trees[&0]["a"], b"one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_solves_may_ask_a_frontend_too() {
    let daemon = Daemon::start().await;
    program::make(&daemon, LABELS).await;
    let files = Files::of(&[]);
    let _session = daemon.session("s", "", files.clone()).await;
    let request =
        wire::SolveRequest { frontend: String::new(), ..solve("r", "s", &[], vec![exporter("local", &[])]) };
    let mut control = daemon.control().await;
    let done = tokio::spawn(async move { control.solve(request).await });
    let mut bridge = daemon.bridge("r").await;
    let asked = frontend::SolveRequest {
        frontend: "gateway.v0".to_owned(),
        frontend_opt: [("source".to_owned(), program::IMAGE.to_owned())].into(),
        allow_result_return: true,
        ..Default::default()
    };
    let result = bridge.solve(asked).await.unwrap().into_inner().result.unwrap();
    assert!(text(&result.metadata["containerimage.config"]).contains("BY=frontend"));
    let Some(frontend::result::Result::Ref(found)) = result.result.clone() else { panic!("no ref") };
    let read =
        frontend::ReadFileRequest { r#ref: found.id, file_path: "/made".to_owned(), ..Default::default() };
    assert!(text(&bridge.read_file(read).await.unwrap().into_inner().data).contains("session s"));
    bridge.r#return(frontend::ReturnRequest { result: Some(result), error: None }).await.unwrap();
    done.await.unwrap().unwrap();
    assert!(files.received().trees[&0].contains_key("made"));
}
