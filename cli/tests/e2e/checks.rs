//! Build checks, outlines and targets, as `docker build --call` prints them.

use crate::harness::{Kiln, show, text};

const ODD: &str = "\
# app is what runs
FROM busybox as app
WORKDIR sub
CMD echo hi
";

fn stdout(kiln: &Kiln, code: i32, args: &[&str]) -> String {
    let output = kiln.output(args);
    assert_eq!(output.status.code(), Some(code), "{}", show(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_check_lists_its_findings_with_their_lines() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", ODD)]);
    let context = context.to_str().unwrap();
    let expected = "\
Check complete, 3 warnings have been found!

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'as' and 'FROM' keywords' casing do not match
Dockerfile:2
--------------------
   1 |     # app is what runs
   2 | >>> FROM busybox as app
   3 |     WORKDIR sub
   4 |     CMD echo hi
--------------------

WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/
Relative workdir \"sub\" can have unexpected results if the base image changes
Dockerfile:3
--------------------
   1 |     # app is what runs
   2 |     FROM busybox as app
   3 | >>> WORKDIR sub
   4 |     CMD echo hi
   5 |     \n--------------------

WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
Dockerfile:4
--------------------
   2 |     FROM busybox as app
   3 |     WORKDIR sub
   4 | >>> CMD echo hi
   5 |     \n--------------------
";
    assert_eq!(stdout(&kiln, 1, &["build", "--check", context]), expected);
    assert_eq!(stdout(&kiln, 0, &["build", "--call=check,ignorestatus=true", context]), expected);
    let quiet = ["build", "--check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", context];
    assert_eq!(stdout(&kiln, 0, &quiet), "Check complete, no warnings found.\n");
}

#[test]
fn a_check_of_a_broken_file_says_what_is_broken() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM busybox as app\nRUNN true\n")]);
    let context = context.to_str().unwrap();
    let output = kiln.output(&["build", "--check", context]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("WARNING: FromAsCasing"), "{}", show(&output));
    assert!(text(&output.stderr).contains("error: unknown instruction `RUNN`"), "{}", show(&output));

    let json = stdout(&kiln, 1, &["build", "--call=check,format=json", context]);
    let results: serde_json::Value = serde_json::from_str(&json).unwrap();
    let warning = &results["warnings"][0];
    assert_eq!(warning["ruleName"], "FromAsCasing");
    assert_eq!(warning["detail"], "'as' and 'FROM' keywords' casing do not match");
    assert_eq!(warning["location"]["ranges"][0]["start"]["line"], 1);
    assert!(warning["url"].is_string() && warning["description"].is_string());
    assert_eq!(results["sources"][0]["filename"], "Dockerfile");
    assert_eq!(results["buildError"]["location"]["ranges"][0]["end"]["line"], 2);
}

#[test]
fn a_build_sums_its_warnings_up() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM busybox as app\nLABEL a b\n")]);
    let lines = [
        "\n 2 warnings found (use --debug to expand):",
        " - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
        " - LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 2)",
    ];
    let said = kiln.build("a", &context, &[]);
    assert!(said.ends_with(&lines.join("\n")), "{said}");
    assert!(said.contains("#1 WARN: FromAsCasing:"), "{said}");
    let said = kiln.build("a", &context, &["--debug"]);
    assert!(said.contains("\n 2 warnings found:\n"), "{said}");
    assert!(said.contains("More info: https://") && said.contains("   2 | >>> LABEL a b"), "{said}");

    let argument = "BUILDKIT_DOCKERFILE_CHECK=skip=FromAsCasing;error=true";
    let said = kiln.fails(1, &["build", "--build-arg", argument, context.to_str().unwrap()]);
    assert!(said.contains("1 warning found") && !said.contains("[1/1]"), "{said}");
    assert!(said.contains("error: lint violation found for rules: LegacyKeyValueFormat"), "{said}");
}

#[test]
fn raw_progress_has_the_warnings_of_buildkit() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM scratch as a\n")]);
    let output = kiln.output(&["build", "--progress", "rawjson", context.to_str().unwrap()]);
    assert!(output.status.success(), "{}", show(&output));
    let said = text(&output.stderr);
    let documents = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let found: Vec<_> = documents.filter_map(|document| document.get("warnings").cloned()).collect();
    let warning = &found[0][0];
    assert_eq!((found.len(), &warning["level"]), (1, &serde_json::json!(1)));
    assert_eq!(warning["sourceInfo"]["language"], "Dockerfile");
    assert_eq!(warning["range"][0]["start"]["line"], 1);
    assert!(warning["short"].is_string() && warning["detail"][0].is_string(), "{warning}");
}

#[test]
fn outlines_and_targets_are_tables_or_json() {
    let kiln = Kiln::new();
    let dockerfile = "\
# TAG is the version of the base
ARG TAG=latest
ARG OTHER
# build compiles
FROM busybox:$TAG AS build
RUN --mount=type=secret,id=token,required=true true
FROM busybox
COPY --from=build /bin/sh /
RUN --mount=type=ssh true
";
    let context = kiln.context("c", &[("Dockerfile", dockerfile)]);
    let context = context.to_str().unwrap();
    let outline = "\
BUILD ARG   VALUE    DESCRIPTION
TAG         latest   is the version of the base

SECRET   REQUIRED
token    true

SSH       REQUIRED
default   \n
";
    assert_eq!(stdout(&kiln, 0, &["build", "--call", "outline", context]), outline);
    let named = stdout(&kiln, 0, &["build", "--call=outline", "--target=build", context]);
    assert!(named.starts_with("TARGET:      build\nDESCRIPTION: compiles\n\nBUILD ARG"), "{named}");
    let targets = "TARGET    DESCRIPTION\nbuild     compiles\n(default) \n";
    assert_eq!(stdout(&kiln, 0, &["build", "--call=targets", context]), targets);

    let json = |call: &str| -> serde_json::Value {
        serde_json::from_str(&stdout(&kiln, 0, &["build", "--call", call, context])).unwrap()
    };
    let outline = json("outline,format=json");
    assert_eq!(outline["args"][0]["name"], "TAG");
    assert_eq!(outline["args"][0]["location"]["ranges"][0]["start"]["line"], 2);
    assert_eq!(
        (&outline["secrets"][0]["name"], &outline["secrets"][0]["required"]),
        (&"token".into(), &true.into())
    );
    let targets = json("targets,format=json");
    assert_eq!(
        (&targets["targets"][0]["base"], &targets["targets"][1]["default"]),
        (&"busybox:$TAG".into(), &true.into())
    );
}
