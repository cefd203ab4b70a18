//! Many at once, and the end of the daemon: nobody waits for ever, and nothing is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend;
use futures_util::StreamExt as _;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::client::{Daemon, Files, solve};
use super::{context, exporter, folder};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(300);

/// A thousand builds of a hundred clients are a row of `cargo xtask bench serve`. Here `clients` do `builds` each, one after the other, none like another; the digests of what came of them.
async fn build(daemon: &Daemon, clients: usize, builds: usize) -> BTreeSet<String> {
    let one = |client: usize| async move {
        let dir = folder(&[("Dockerfile", "FROM scratch\nARG N\nCOPY a /a\nLABEL n=$N\n"), ("a", "one")]);
        std::fs::write(dir.path().join("a"), client.to_string()).unwrap();
        let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
        let session = format!("session-{client}");
        let _session = daemon.session(&session, &format!("key-{client}"), files).await;
        let mut control = daemon.control().await;
        let mut digests = Vec::new();
        for build in 0..builds {
            let number = format!("{client}-{build}");
            let attributes = [("build-arg:N", number.as_str())];
            let request = solve(&number, &session, &attributes, vec![exporter("image", &[])]);
            let answer = control.solve(request).await.unwrap().into_inner();
            digests.push(answer.exporter_response["containerimage.digest"].clone());
        }
        digests
    };
    futures_util::future::join_all((0..clients).map(one)).await.into_iter().flatten().collect()
}

#[test]
fn more_builds_than_threads_come_to_their_end() {
    let runtime = Builder::new_multi_thread().worker_threads(2).max_blocking_threads(3).enable_all().build();
    runtime.unwrap().block_on(async {
        let daemon = Daemon::start().await;
        let built = timeout(LONG, build(&daemon, 24, 2)).await.expect("builds wait for each other");
        assert_eq!(built.len(), 48);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_are_given_up_when_the_daemon_stops() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY a /\n");
    let _session = daemon.session("s", "key", Files::of(&[("context", dir.path())])).await;
    // It waits for its client, who says nothing more.
    let request = wire::SolveRequest { frontend: String::new(), ..solve("r", "s", &[], Vec::new()) };
    let mut control = daemon.control().await;
    let solving = tokio::spawn(async move { control.solve(request).await });
    daemon.bridge("r").await.ping(frontend::PingRequest {}).await.unwrap();
    let told = daemon
        .control()
        .await
        .listen_build_history(wire::BuildHistoryRequest::default())
        .await
        .unwrap()
        .into_inner();
    daemon.stop.cancel();
    timeout(LONG, daemon.kit.ended()).await.expect("a build does not end");
    assert!(solving.await.unwrap().unwrap_err().message().contains("canceled"));
    let told: Vec<_> = timeout(LONG, told.collect()).await.expect("who listens is not let go");
    assert!(!told.is_empty());
    let late = daemon.control().await.solve(solve("late", "", &[], Vec::new())).await;
    assert!(late.is_err(), "nothing begins after the stop");
}
