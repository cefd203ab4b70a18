//! The BuildKit API as clients use it: a server on a unix socket, and clients made of the protocol's own stubs.

mod client;
mod containers;
mod files;
mod frontends;
mod graphs;
mod hijacked;
mod inputs;
mod load;
mod policies;
mod policy;
mod program;
mod questions;
mod remembered;
mod strangers;

use std::collections::HashMap;

use bollard_buildkit_proto::health::HealthCheckRequest;
use bollard_buildkit_proto::health::health_client::HealthClient;
use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend;
use client::{Daemon, Files, solve, text};
use tonic::Code;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

/// The context that most tests build.
fn context(dockerfile: &str) -> tempfile::TempDir {
    folder(&[("Dockerfile", dockerfile), ("a", "one"), ("d/b", "two"), ("unused", "x")])
}

fn exporter(kind: &str, attributes: &[(&str, &str)]) -> wire::Exporter {
    let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    wire::Exporter { r#type: kind.to_owned(), attrs }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_learns_what_it_talks_to() {
    let daemon = Daemon::start().await;
    let mut control = daemon.control().await;
    let info = control.info(wire::InfoRequest {}).await.unwrap().into_inner();
    assert!(info.buildkit_version.unwrap().version.starts_with("v0."));
    let workers =
        control.list_workers(wire::ListWorkersRequest::default()).await.unwrap().into_inner().record;
    assert_eq!((workers.len(), workers[0].platforms[0].os.as_str()), (1, "linux"));
    let mut health = HealthClient::new(daemon.channel().await);
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dockerfile_becomes_an_image_and_a_second_build_travels_as_differences() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY a d /\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let session = daemon.session("s1", "key", files.clone()).await;
    let mut request = solve("r1", "s1", &[], vec![exporter("image", &[("name", "example.com/app:1")])]);
    let response =
        daemon.control().await.solve(request.clone()).await.unwrap().into_inner().exporter_response;
    assert!(response["containerimage.digest"].starts_with("sha256:"));
    assert_eq!(response["image.name"], "example.com/app:1");
    assert_eq!(files.sent(), ["Dockerfile", "a", "b"], "`unused` is used by nobody");
    let told = daemon.status("r1").await;
    let names: Vec<&str> = told.vertexes.iter().map(|vertex| vertex.name.as_str()).collect();
    assert!(names.contains(&"exporting to image"), "{names:?}");
    let copy = told.vertexes.iter().rfind(|vertex| vertex.name.contains("COPY")).unwrap();
    assert!(copy.completed.is_some() && copy.error.is_empty());

    std::fs::write(dir.path().join("d/b"), "other").unwrap();
    request.r#ref = "r2".to_owned();
    let again = daemon.control().await.solve(request).await.unwrap().into_inner().exporter_response;
    assert_ne!(again["containerimage.digest"], response["containerimage.digest"]);
    assert_eq!(files.sent(), ["b"]);
    assert!(
        daemon
            .engine
            .images()
            .list()
            .unwrap()
            .iter()
            .any(|image| format!("{image:?}").contains("example.com/app"))
    );
    drop(session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_go_to_the_client_as_files_and_as_streams() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY a /x/a\nCOPY d /\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let exporters = vec![exporter("local", &[]), exporter("tar", &[]), exporter("oci", &[])];
    daemon.control().await.solve(solve("r", "s", &[], exporters)).await.unwrap();
    let received = files.received();
    assert_eq!(received.trees[&0]["x/a"], b"one");
    assert_eq!(received.trees[&0]["b"], b"two");
    assert!(text(&received.streams[&1]).contains("x/a"));
    assert!(text(&received.streams[&2]).contains("oci-layout"));
}

/// Names come faster than the disk takes them, in frames so small that a connection is given up for too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_many_small_files_travels() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY d /\n");
    for number in 0..6000 {
        std::fs::write(dir.path().join(format!("d/{number}")), "x").unwrap();
    }
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    daemon.control().await.solve(solve("r", "s", &[], vec![exporter("tar", &[])])).await.unwrap();
    assert_eq!(files.sent().len(), 6002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ignore_files_and_named_contexts_are_the_clients() {
    let daemon = Daemon::start().await;
    let dir = folder(&[
        ("Dockerfile", "FROM scratch\nCOPY . /\nCOPY --from=docs . /docs/\n"),
        (".dockerignore", "Dockerfile\n.dockerignore\nsecret\n"),
        ("a", "one"),
        ("secret", "hidden"),
    ]);
    let docs =
        folder(&[("manual", "read me"), ("draft", "not yet"), (".dockerignore", "draft\n.dockerignore\n")]);
    let folders = [("context", dir.path()), ("dockerfile", dir.path()), ("named", docs.path())];
    let files = Files::of(&folders);
    let _session = daemon.session("s", "k", files.clone()).await;
    let request = solve("r", "s", &[("context:docs", "local:named")], vec![exporter("local", &[])]);
    daemon.control().await.solve(request).await.unwrap();
    let mut paths: Vec<String> = files.received().trees[&0].keys().cloned().collect();
    paths.sort();
    assert_eq!(paths, ["a", "docs/manual"]);
    assert!(!files.sent().contains(&"secret".to_owned()));
}

/// A name that a client sends is never a path of this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attribute_reads_this_machines_files() {
    let daemon = Daemon::start().await;
    let secret = folder(&[("Dockerfile", "FROM scratch\nCOPY canary /\n"), ("canary", "alive")]);
    let here = secret.path().to_str().unwrap();
    let dir = context("FROM scratch\nCOPY --from=x canary /\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let named = format!("{here}/Dockerfile");
    let layout = format!("oci-layout://{here}@sha256:{}", "0".repeat(64));
    for (number, attribute) in [
        ("context:x", here),
        ("context:x", "/etc"),
        ("context:x", &layout),
        ("context", here),
        ("filename", &named),
        ("filename", "../../../../../../../../etc/passwd"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = solve(&format!("r{number}"), "s", &[attribute], vec![exporter("local", &[])]);
        let error = daemon.control().await.solve(request).await.unwrap_err();
        assert!(!error.message().contains("root:"), "{attribute:?}: {}", error.message());
    }
    assert!(files.received().trees.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_comes_with_its_lines() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY missing /\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files).await;
    let error = daemon.control().await.solve(solve("r", "s", &[], Vec::new())).await.unwrap_err();
    assert!(error.message().contains("missing"), "{}", error.message());
    let details = text(error.details());
    assert!(details.contains("errdefs.Source+json") && details.contains(r#""line":2"#), "{details}");
    assert!(daemon.status("r").await.vertexes.iter().any(|vertex| vertex.error.contains("missing")));
    let error = daemon.control().await.solve(solve("r9", "nobody", &[], Vec::new())).await.unwrap_err();
    assert!(error.message().contains("no active session for nobody"), "{}", error.message());
    let denied = wire::SolveRequest {
        entitlements: vec!["network.host".to_owned()],
        ..solve("e", "s", &[], Vec::new())
    };
    let error = daemon.control().await.solve(denied).await.unwrap_err();
    assert!(
        error.message().contains("granting entitlement network.host is not allowed"),
        "{}",
        error.message()
    );
    // What kiln would not do is not silently left out.
    let exports = vec![wire::CacheOptionsEntry { r#type: "inline".to_owned(), ..Default::default() }];
    let cache = Some(wire::CacheOptions { exports, ..Default::default() });
    let cached = wire::SolveRequest { cache, ..solve("c", "s", &[], Vec::new()) };
    assert_eq!(daemon.control().await.solve(cached).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_solves_looks_and_returns() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY a d /\nENV K=v\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let request =
        wire::SolveRequest { frontend: String::new(), ..solve("r", "s", &[], vec![exporter("local", &[])]) };
    let mut control = daemon.control().await;
    let done = tokio::spawn(async move { control.solve(request).await });
    let mut bridge = daemon.bridge("r").await;
    let pong = bridge.ping(frontend::PingRequest {}).await.unwrap().into_inner();
    assert!(pong.llb_caps.iter().any(|cap| cap.id == "file.base" && cap.enabled));
    let solved = frontend::SolveRequest { frontend: "dockerfile.v0".to_owned(), ..Default::default() };
    let result = bridge.solve(solved).await.unwrap().into_inner().result.unwrap();
    assert!(text(&result.metadata["containerimage.config"]).contains("K=v"));
    let Some(frontend::result::Result::Ref(reference)) = result.result.clone() else { panic!("no ref") };
    let read = |path: &str| frontend::ReadFileRequest {
        r#ref: reference.id.clone(),
        file_path: path.to_owned(),
        ..Default::default()
    };
    assert_eq!(bridge.read_file(read("a")).await.unwrap().into_inner().data, b"one");
    let missing = bridge.read_file(read("none")).await.unwrap_err();
    assert!(missing.message().contains("`none`") && missing.message().contains("no such file"));
    let list = frontend::ReadDirRequest {
        r#ref: reference.id.clone(),
        dir_path: "/".to_owned(),
        ..Default::default()
    };
    let entries = bridge.read_dir(list).await.unwrap().into_inner().entries;
    let names: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    bridge.r#return(frontend::ReturnRequest { result: Some(result), error: None }).await.unwrap();
    done.await.unwrap().unwrap();
    assert_eq!(files.received().trees[&0]["b"], b"two");
    assert!(bridge.ping(frontend::PingRequest {}).await.is_err(), "the build is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_error_is_the_builds() {
    let daemon = Daemon::start().await;
    let _session = daemon.session("s", "", Files::of(&[])).await;
    let request = wire::SolveRequest { frontend: String::new(), ..solve("r", "s", &[], Vec::new()) };
    let mut control = daemon.control().await;
    let done = tokio::spawn(async move { control.solve(request).await });
    let error = bollard_buildkit_proto::google::rpc::Status {
        code: 2,
        message: "mine".to_owned(),
        details: Vec::new(),
    };
    let returned = frontend::ReturnRequest { result: None, error: Some(error) };
    daemon.bridge("r").await.r#return(returned).await.unwrap();
    assert_eq!(done.await.unwrap().unwrap_err().message(), "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_are_remembered_and_forgotten() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY a /\n");
    let _session =
        daemon.session("s", "", Files::of(&[("context", dir.path()), ("dockerfile", dir.path())])).await;
    let mut control = daemon.control().await;
    control.solve(solve("good", "s", &[], vec![exporter("image", &[])])).await.unwrap();
    control.solve(solve("bad", "s", &[("target", "none")], Vec::new())).await.unwrap_err();
    let again = control.solve(solve("good", "s", &[], Vec::new())).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let all = daemon.history().await;
    let outcomes: HashMap<&str, bool> =
        all.iter().map(|record| (record.r#ref.as_str(), record.error.is_none())).collect();
    assert_eq!(outcomes, HashMap::from([("good", true), ("bad", false)]));
    let forget =
        wire::UpdateBuildHistoryRequest { r#ref: "bad".to_owned(), delete: true, ..Default::default() };
    control.update_build_history(forget).await.unwrap();
    assert_eq!(daemon.history().await.len(), 1);
    assert!(control.disk_usage(wire::DiskUsageRequest::default()).await.is_ok());
    assert!(control.prune(wire::PruneRequest::default()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_takes_its_build_with_it() {
    let daemon = Daemon::start().await;
    let session = daemon.session("s", "", Files::of(&[])).await;
    let request = wire::SolveRequest { frontend: String::new(), ..solve("r", "s", &[], Vec::new()) };
    let mut control = daemon.control().await;
    let waiting = tokio::spawn(async move { control.solve(request).await });
    daemon.bridge("r").await.ping(frontend::PingRequest {}).await.unwrap();
    drop(session);
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    // One whose call is gone too.
    let _session = daemon.session("s2", "", Files::of(&[])).await;
    let request = wire::SolveRequest { frontend: String::new(), ..solve("r2", "s2", &[], Vec::new()) };
    let mut control = daemon.control().await;
    let waiting = tokio::spawn(async move { control.solve(request).await });
    daemon.bridge("r2").await.ping(frontend::PingRequest {}).await.unwrap();
    waiting.abort();
    daemon.status("r2").await;
    let ended = daemon.history().await.into_iter().find(|record| record.r#ref == "r2").unwrap();
    assert_eq!(ended.error.unwrap().code, Code::Cancelled as i32);
}

/// What a bound, an age or a filter keeps is still there afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_prune_takes_more_than_was_asked() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch AS one\nCOPY a d /\nFROM scratch\nCOPY --from=one /a /b\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files).await;
    daemon.control().await.solve(solve("r", "s", &[], vec![exporter("tar", &[])])).await.unwrap();
    let mut control = daemon.control().await;
    let usage = async |filter: &str| {
        let request = wire::DiskUsageRequest { filter: vec![filter.to_owned()], age_limit: 0 };
        let records = daemon.control().await.disk_usage(request).await.unwrap().into_inner().record;
        records.iter().map(|record| record.size).sum::<i64>()
    };
    let before = usage("type==regular").await;
    assert!(before > 0 && usage("").await >= before && usage("type==exec.cachemount").await == 0);
    let filter = |text: &str| wire::PruneRequest { filter: vec![text.to_owned()], ..Default::default() };
    let kept = [
        filter("type==exec.cachemount"),
        filter("inuse"),
        wire::PruneRequest { keep_duration: 3_600_000_000_000, ..Default::default() },
        wire::PruneRequest { max_used_space: 1 << 40, ..Default::default() },
        wire::PruneRequest { reserved_space: 1 << 40, max_used_space: 1, ..Default::default() },
        wire::PruneRequest { min_free_space: 1, ..Default::default() },
    ];
    for request in kept {
        let mut gone = control.prune(request.clone()).await.unwrap().into_inner();
        assert!(gone.message().await.unwrap().is_none(), "{request:?}");
        assert_eq!(usage("type==regular").await, before, "{request:?}");
    }
    for request in [filter("x==1"), wire::PruneRequest { max_used_space: -1, ..Default::default() }] {
        assert_eq!(control.prune(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    control.prune(wire::PruneRequest { max_used_space: 1, ..filter("type==regular") }).await.unwrap();
    assert_eq!(usage("type==regular").await, 0);
}
