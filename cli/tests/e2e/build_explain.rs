//! `kiln build --explain`: why a step ran although it was built before.

use std::fs;

use crate::harness::Kiln;

/// The lines of the explanation.
fn reasons(said: &str) -> Vec<&str> {
    let lines = said.lines().skip_while(|line| *line != "Why steps ran:").skip(1);
    lines.take_while(|line| line.starts_with("  ")).map(str::trim).collect()
}

#[test]
fn each_step_that_ran_says_what_is_not_as_it_was() {
    let kiln = Kiln::new();
    let dockerfile = "FROM busybox\nARG VERSION\nCOPY src /src\nRUN cat /src/* > /all\n";
    let context = kiln.context("c", &[("Dockerfile", dockerfile), ("src/a", "1"), ("src/b", "1")]);
    let build = |more: &[&str]| kiln.build("app", &context, &[&["--explain"], more].concat());
    let first = build(&["--build-arg", "VERSION=1"]);
    assert_eq!(
        reasons(&first),
        [
            "[2/3] COPY src /src: no step like it is remembered",
            "[3/3] RUN cat /src/* > /all: no step like it is remembered",
        ]
    );
    assert_eq!(reasons(&build(&["--build-arg", "VERSION=1"])), [""; 0], "nothing ran");

    let argument = build(&["--build-arg", "VERSION=2"]);
    assert_eq!(reasons(&argument), ["[3/3] RUN cat /src/* > /all: variable `VERSION` is `2`, was `1`"]);

    fs::write(context.join("src/b"), "2").unwrap();
    let file = build(&["--build-arg", "VERSION=2"]);
    assert_eq!(
        reasons(&file),
        [
            "[2/3] COPY src /src: what it takes of the build context changed: `/src/b`",
            "[3/3] RUN cat /src/* > /all: what `[2/3] COPY src /src` made changed",
        ]
    );

    fs::write(context.join("Dockerfile"), dockerfile.replace("> /all", "> /every")).unwrap();
    let command = build(&["--build-arg", "VERSION=2"]);
    assert_eq!(
        reasons(&command),
        ["[3/3] RUN cat /src/* > /every: command is `cat /src/* > /every`, was `cat /src/* > /all`"]
    );

    let fresh = build(&["--build-arg", "VERSION=2", "--no-cache"]);
    assert_eq!(reasons(&fresh).len(), 2, "{fresh}");
    assert!(reasons(&fresh)[0].ends_with("it is not to be taken from the cache"), "{fresh}");
}

#[test]
fn another_base_image_is_named() {
    let kiln = Kiln::new();
    kiln.build_text("base", "FROM busybox\nRUN echo 1 > /base\n");
    let context = kiln.context("c", &[("Dockerfile", "FROM base\nRUN cat /base > /app\n")]);
    kiln.build("app", &context, &[]);
    kiln.build_text("base", "FROM busybox\nRUN echo 2 > /base\n");
    let said = kiln.build("app", &context, &["--explain"]);
    let [line] = reasons(&said)[..] else { panic!("{said}") };
    assert!(line.starts_with("[2/2] RUN cat /base > /app: the base image is `base:latest@sha256:"), "{line}");
    assert!(line.contains(", was `base:latest@sha256:"), "{line}");
}
