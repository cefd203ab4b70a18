//! `kiln build`: what is run, what is remembered and what comes out.

use std::fs;
use std::process::Stdio;

use crate::harness::{Kiln, show, tool};

const TWO_STAGES: &str = "\
FROM busybox AS build
COPY src /src
RUN cat /src/* > /out && echo made > /noise
FROM busybox
COPY --from=build /out /app
CMD [\"cat\", \"/app\"]
";

#[test]
fn stages_hand_files_on_and_a_second_build_runs_nothing() {
    let kiln = Kiln::new();
    let context = kiln
        .context("c", &[("Dockerfile", TWO_STAGES), ("src/a", "one\n"), ("src/b", "two\n"), ("unused", "x")]);
    let first = kiln.build("app", &context, &[]);
    assert!(!first.contains("CACHED"), "{first}");
    assert_eq!(kiln.ok(&["run", "--rm", "--network", "none", "app"]), "one\ntwo");

    let id = kiln.inspect("app", "{{.Id}}");
    fs::write(context.join("unused"), "changed").unwrap();
    let second = kiln.build("app", &context, &[]);
    assert_eq!(second.matches("CACHED").count(), 3, "{second}");
    assert_eq!(kiln.inspect("app", "{{.Id}}"), id);
}

#[test]
fn a_step_that_makes_the_same_again_stops_the_rebuild() {
    let kiln = Kiln::new();
    let dockerfile = "\
FROM busybox AS build
COPY src /src
RUN wc -l < /src/a > /lines
FROM busybox
COPY --from=build /lines /lines
RUN echo expensive > /result
";
    let context = kiln.context("c", &[("Dockerfile", dockerfile), ("src/a", "one\n")]);
    kiln.build("app", &context, &[]);
    fs::write(context.join("src/a"), "two\n").unwrap();
    let second = kiln.build("app", &context, &[]);
    let cached = |step: &str| {
        let number =
            second.lines().find(|l| l.contains(step)).and_then(|l| l.split(' ').next()).unwrap().to_owned();
        second.lines().any(|l| l == format!("{number} CACHED"))
    };
    assert!(!cached("RUN wc -l"), "{second}");
    assert!(cached("COPY --from=build"), "{second}");
    assert!(cached("RUN echo expensive"), "{second}");
}

#[test]
fn unneeded_stages_do_not_run_and_a_target_stops_early() {
    let kiln = Kiln::new();
    let dockerfile = "\
FROM busybox AS broken
RUN false
FROM busybox AS first
RUN echo first > /which
FROM first AS second
RUN echo second > /which
";
    let context = kiln.context("c", &[("Dockerfile", dockerfile)]);
    kiln.build("both", &context, &[]);
    kiln.build("one", &context, &["--target", "first"]);
    assert_eq!(kiln.sh("both", "cat /which"), "second");
    assert_eq!(kiln.sh("one", "cat /which"), "first");
}

#[test]
fn independent_stages_run_at_the_same_time() {
    let kiln = Kiln::new();
    // Each stage waits for a sign of the other in a directory that both can see.
    let meet = kiln.scratch("meet");
    let stage = |own: &str, other: &str| {
        format!(
            "FROM busybox AS {own}\nRUN --mount=type=cache,target=/meet touch /meet/{own} && i=0; \
             while [ ! -e /meet/{other} ]; do i=$((i+1)); [ $i -lt 100 ] || exit 7; sleep 0.1; done; echo {own} > /{own}\n"
        )
    };
    let dockerfile = format!(
        "{}{}FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        stage("a", "b"),
        stage("b", "a")
    );
    fs::write(meet.join("Dockerfile"), dockerfile).unwrap();
    kiln.build("met", &meet, &["--jobs", "2"]);
    assert_eq!(kiln.sh("met", "cat /a /b"), "a\nb");
}

#[test]
fn arguments_labels_tags_and_the_id_file() {
    let kiln = Kiln::new();
    let dockerfile = "\
ARG BASE=busybox
FROM ${BASE}
ARG WHO=nobody
ENV GREETING=\"hello $WHO\"
LABEL role=test
RUN echo \"$GREETING\" > /greeting
";
    let context = kiln.context("c", &[("Dockerfile", "FROM scratch"), ("other/Containerfile", dockerfile)]);
    let id_file = kiln.scratch("out").join("id");
    let file = context.join("other/Containerfile");
    kiln.build(
        "one:1",
        &context,
        &[
            "-t",
            "two:2",
            "-f",
            file.to_str().unwrap(),
            "--build-arg",
            "WHO=world",
            "--label",
            "extra=yes",
            "--iidfile",
            id_file.to_str().unwrap(),
        ],
    );
    assert_eq!(kiln.sh("two:2", "cat /greeting; echo $GREETING"), "hello world\nhello world");
    assert_eq!(kiln.inspect("one:1", "{{.Id}}"), fs::read_to_string(&id_file).unwrap().trim());
    assert_eq!(kiln.inspect("one:1", "{{.Config.Labels.role}} {{.Config.Labels.extra}}"), "test yes");
    let quiet = kiln.ok(&["build", "-q", "-f", file.to_str().unwrap(), context.to_str().unwrap()]);
    assert!(quiet.starts_with("sha256:") && quiet.lines().count() == 1, "{quiet}");
}

#[test]
fn no_cache_runs_everything_again() {
    let kiln = Kiln::new();
    let context =
        kiln.context("c", &[("Dockerfile", "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n")]);
    kiln.build("a", &context, &[]);
    kiln.build("b", &context, &[]);
    kiln.build("c", &context, &["--no-cache"]);
    assert_eq!(kiln.sh("a", "cat /id"), kiln.sh("b", "cat /id"));
    assert_ne!(kiln.sh("a", "cat /id"), kiln.sh("c", "cat /id"));
}

#[test]
fn one_stage_alone_runs_again() {
    let kiln = Kiln::new();
    let stage = |name: &str| format!("FROM busybox AS {name}\nRUN cat /proc/sys/kernel/random/uuid > /id\n");
    // Another command, or the two stages would be one.
    let two = stage("two").replace("RUN cat", "RUN exec cat");
    let copies = "COPY --from=one /id /one\nCOPY --from=two /id /two\n";
    let text = format!("{}{two}FROM busybox\n{copies}", stage("one"));
    let context = kiln.context("c", &[("Dockerfile", &text)]);
    kiln.build("a", &context, &[]);
    kiln.build("b", &context, &["--no-cache-filter", "other,two"]);
    assert_eq!(kiln.sh("a", "cat /one"), kiln.sh("b", "cat /one"));
    assert_ne!(kiln.sh("a", "cat /two"), kiln.sh("b", "cat /two"));
}

#[test]
fn several_targets_are_built_in_one_go() {
    let kiln = Kiln::new();
    let text = "FROM busybox AS base\nRUN cat /proc/sys/kernel/random/uuid > /id\nCOPY shared /shared\n\
                FROM base AS app\nCOPY app /app\nCMD [\"app\"]\nFROM base AS test\nCOPY test /test\nCMD [\"test\"]\n";
    let files = [("Dockerfile", text), ("shared", "s"), ("app", "a"), ("test", "t")];
    let context = kiln.context("c", &files);
    let path = context.to_str().unwrap();
    // Without the cache, so that a step in both would run twice if they did not share it.
    let targets = ["build", "-q", "--no-cache", "--target", "app,test"];
    let ids = kiln.ok(&[&targets[..], &["-t", "app=my-app", "-t", "test=my-app:test", path]].concat());
    let of = |name: &str| kiln.inspect(name, "{{.Id}}");
    assert_eq!(ids.lines().collect::<Vec<_>>(), [of("my-app"), of("my-app:test")]);
    assert_eq!(kiln.sh("my-app", "cat /id"), kiln.sh("my-app:test", "cat /id"));
    assert_eq!(kiln.sh("my-app", "cat /app; ls /test 2>&1 | wc -l"), "a1");
    assert_eq!(kiln.sh("my-app:test", "cat /shared /test"), "st");
    let said = kiln.fails(1, &[&targets[..], &["-t", "nobody", path]].concat());
    assert!(
        said.contains("does not say which of the targets") && said.contains("`-t app=nobody` does"),
        "{said}"
    );
    let said = kiln.fails(1, &[&targets[..], &["-o", "out", path]].concat());
    assert!(said.contains("`-o` takes one target"), "{said}");
}

#[test]
fn each_output_holds_the_result() {
    let kiln = Kiln::new();
    let context =
        kiln.context("c", &[("Dockerfile", "FROM scratch\nCOPY hello /hello\n"), ("hello", "hi\n")]);
    let out = kiln.scratch("out");
    let at = |name: &str| out.join(name).to_str().unwrap().to_owned();
    for kind in ["oci", "docker", "tar"] {
        let output = format!("type={kind},dest={}", at(&format!("{kind}.tar")));
        kiln.build("result", &context, &["-o", &output]);
    }
    kiln.build("result", &context, &["-o", &format!("type=local,dest={}", at("local"))]);
    assert_eq!(fs::read_to_string(out.join("local/hello")).unwrap(), "hi\n");
    assert_eq!(tool("tar", &["-xOf", &at("tar.tar"), "hello"]), "hi");
    for source in [format!("oci-archive:{}", at("oci.tar")), format!("docker-archive:{}", at("docker.tar"))] {
        assert!(tool("skopeo", &["inspect", &source]).contains("\"Layers\""));
    }
}

#[test]
fn two_builds_at_the_same_moment() {
    let kiln = Kiln::new();
    let context = kiln.context(
        "c",
        &[
            ("Dockerfile", "FROM busybox\nCOPY f /f\nRUN sleep 0.3 && cat /f > /g\nRUN cat /g > /h\n"),
            ("f", "same\n"),
        ],
    );
    let path = context.to_str().unwrap();
    let spawn = |tag: &str| {
        let mut command = kiln.command(&["build", "--progress", "plain", "-t", tag, path]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let builds = [spawn("left"), spawn("right")];
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", show(&output));
    }
    assert_eq!(kiln.sh("left", "cat /h"), "same");
    assert_eq!(kiln.sh("right", "cat /h"), "same");
}

#[test]
fn rawjson_is_one_document_a_line() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM busybox\nRUN echo seen\n")]);
    let output = kiln.output(&["build", "--progress", "rawjson", context.to_str().unwrap()]);
    assert!(output.status.success(), "{}", show(&output));
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stderr)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = lines
        .iter()
        .flat_map(|l| l["vertexes"].as_array().into_iter().flatten())
        .filter_map(|v| v["name"].as_str())
        .collect();
    assert!(names.iter().any(|name| name.contains("RUN echo seen")), "{names:?}");
    assert!(lines.iter().any(|l| l["logs"].is_array()), "no log in {lines:?}");
}
