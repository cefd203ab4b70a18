//! Source policies: what a client's build may take from where.

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::{
    MatchType, Policy, PolicyAction, Rule, Selector, Update,
};

use super::client::{Daemon, Files, solve};
use super::{context, exporter, graphs};

fn policy(action: PolicyAction, identifier: &str, to: &str) -> Option<Policy> {
    let selector = Selector {
        identifier: identifier.to_owned(),
        match_type: MatchType::Wildcard.into(),
        constraints: Vec::new(),
    };
    let updates = Some(Update { identifier: to.to_owned(), ..Update::default() });
    let rule = Rule { action: action.into(), selector: Some(selector), updates };
    Some(Policy { version: 1, rules: vec![rule] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_of_dockerfiles_are_denied_and_replaced() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY a /base\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let mut control = daemon.control().await;
    let name = "example.com/base:1";
    control.solve(solve("base", "s", &[], vec![exporter("image", &[("name", name)])])).await.unwrap();
    std::fs::write(dir.path().join("Dockerfile"), "FROM example.com/wanted:1\nCOPY d /\n").unwrap();
    let under = |reference: &str, policy| wire::SolveRequest {
        source_policy: policy,
        ..solve(reference, "s", &[], vec![exporter("local", &[])])
    };
    let denied = policy(PolicyAction::Deny, "docker-image://example.com/*", "");
    let refused = control.solve(under("denied", denied)).await.unwrap_err();
    assert!(
        refused.message().contains(r#""docker-image://example.com/wanted:1" denied by policy"#),
        "{refused:?}"
    );
    let replaced = policy(
        PolicyAction::Convert,
        "docker-image://example.com/wanted:*",
        "docker-image://example.com/base:$1",
    );
    control.solve(under("replaced", replaced)).await.unwrap();
    assert_eq!(files.received().trees[&0]["base"], b"one");
    let local = policy(PolicyAction::Deny, "local://context", "");
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY d /\n").unwrap();
    let refused = control.solve(under("local", local)).await.unwrap_err();
    assert!(refused.message().contains("local://context"), "{refused:?}");
    let odd = policy(PolicyAction::Deny, "**", "");
    assert!(control.solve(under("odd", odd)).await.unwrap_err().message().contains("source policy"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_of_graphs_are_denied_and_replaced() {
    let daemon = Daemon::start().await;
    let dir = context("");
    let files = Files::of(&[("other", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let under = |reference: &str, policy| wire::SolveRequest {
        frontend: String::new(),
        definition: Some(graphs::graph()),
        source_policy: policy,
        ..solve(reference, "s", &[], vec![exporter("local", &[])])
    };
    let mut control = daemon.control().await;
    let refused = control.solve(under("d", policy(PolicyAction::Deny, "local://*", ""))).await.unwrap_err();
    assert!(refused.message().contains("denied by policy"), "{refused:?}");
    control.solve(under("c", policy(PolicyAction::Convert, "local://src", "local://other"))).await.unwrap();
    assert_eq!(files.received().trees[&0]["a"], b"one");
}
