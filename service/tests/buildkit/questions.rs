//! What the Dockerfile frontend is asked instead of a build.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend;
use serde_json::Value;
use tonic::{Code, Status};

use super::client::{Daemon, Files, solve, text};
use super::folder;

const DOCKERFILE: &str = "ARG BASE=scratch\n# one is the first\nFROM ${BASE} as one\n# VERSION of it\nARG VERSION=1\nRUN --mount=type=secret,id=token,required echo $VERSION\n";

/// The answer to `question`, from a build that its client solves.
async fn ask(question: &str, dockerfile: &str) -> Result<HashMap<String, Vec<u8>>, Status> {
    let daemon = Daemon::start().await;
    let dir = folder(&[("Dockerfile", dockerfile)]);
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let _session = daemon.session("s", "", files).await;
    let request = wire::SolveRequest { frontend: String::new(), ..solve("r", "s", &[], Vec::new()) };
    let mut control = daemon.control().await;
    let _done = tokio::spawn(async move { control.solve(request).await });
    let asked = frontend::SolveRequest {
        frontend: "dockerfile.v0".to_owned(),
        frontend_opt: [("requestid".to_owned(), question.to_owned())].into(),
        ..Default::default()
    };
    let answer = daemon.bridge("r").await.solve(asked).await?.into_inner();
    let result = answer.result.unwrap();
    assert!(result.result.is_none(), "there is no result of a build");
    Ok(result.metadata)
}

fn json(answer: &HashMap<String, Vec<u8>>) -> Value {
    serde_json::from_slice(&answer["result.json"]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_are_told_with_their_lines_and_a_code() {
    let answer = ask("frontend.lint", DOCKERFILE).await.unwrap();
    let (found, said) = (json(&answer), text(&answer["result.txt"]));
    assert_eq!(
        (text(&answer["result.statuscode"]), text(&answer["version"])),
        ("1".to_owned(), "1.0.0".to_owned())
    );
    assert_eq!(found["warnings"][0]["ruleName"], "FromAsCasing");
    assert_eq!(found["warnings"][0]["location"]["ranges"][0]["start"]["line"], 3);
    assert_eq!(found["sources"][0]["filename"], "Dockerfile");
    assert!(
        said.starts_with("\nWARNING: FromAsCasing - https://") && said.contains(">>> FROM ${BASE} as one"),
        "{said}"
    );
    let answer = ask("frontend.lint", "FROM scratch\nCOPY Dockerfile /\n").await.unwrap();
    assert_eq!(
        (text(&answer["result.statuscode"]), text(&answer["result.txt"])),
        ("0".to_owned(), String::new())
    );
    let answer = ask("frontend.lint", "FROM scratch\nNONE\n").await.unwrap();
    assert_eq!(text(&answer["result.statuscode"]), "1");
    assert!(json(&answer)["buildError"]["message"].as_str().unwrap().contains("NONE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_and_targets_are_told() {
    let answer = ask("frontend.outline", DOCKERFILE).await.unwrap();
    let found = json(&answer);
    assert_eq!((&found["name"], &found["secrets"][0]["name"]), (&Value::from("one"), &Value::from("token")));
    assert_eq!(found["secrets"][0]["required"], true);
    let version = found["args"].as_array().unwrap().iter().find(|arg| arg["name"] == "VERSION").unwrap();
    assert_eq!((&version["value"], &version["description"]), (&Value::from("1"), &Value::from("of it")));
    assert!(text(&answer["result.txt"]).starts_with("TARGET:"), "{}", text(&answer["result.txt"]));
    let answer = ask("frontend.targets", DOCKERFILE).await.unwrap();
    assert_eq!(json(&answer)["targets"][0]["description"], "is the first");
    assert!(text(&answer["result.txt"]).contains("one (default)"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_questions_are_known_and_others_refused() {
    let answer = ask("frontend.subrequests.describe", DOCKERFILE).await.unwrap();
    let names: Vec<String> =
        json(&answer).as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        names,
        ["frontend.outline", "frontend.targets", "frontend.lint", "frontend.subrequests.describe"]
    );
    assert!(text(&answer["result.txt"]).contains("\nlint "), "{}", text(&answer["result.txt"]));
    let refused = ask("frontend.nothing", DOCKERFILE).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unimplemented, "unsupported request frontend.nothing")
    );
}
