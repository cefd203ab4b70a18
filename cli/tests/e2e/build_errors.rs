//! What a build says when it cannot be done.

use crate::harness::Kiln;

#[test]
fn a_failing_step_shows_its_line_its_output_and_its_code() {
    let kiln = Kiln::new();
    let context =
        kiln.context("c", &[("Dockerfile", "FROM busybox\nRUN true\nRUN echo about to fail; exit 3\n")]);
    let said = kiln.fails(1, &["build", "--progress", "plain", context.to_str().unwrap()]);
    assert!(said.contains("Dockerfile:3"), "{said}");
    assert!(said.contains("   3 | >>> RUN echo about to fail; exit 3"), "{said}");
    assert!(said.contains("about to fail") && said.contains("exit code: 3"), "{said}");
}

#[test]
fn a_typo_gets_a_suggestion() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM busybox\nRUNN true\n")]);
    let said = kiln.fails(1, &["build", context.to_str().unwrap()]);
    assert!(said.contains("RUNN") && said.contains("did you mean `RUN`"), "{said}");
    assert!(said.contains("   2 | >>> RUNN true"), "{said}");
}

#[test]
fn a_missing_source_says_whether_it_is_ignored() {
    let kiln = Kiln::new();
    let files = [
        ("Dockerfile", "FROM busybox\nCOPY secret.txt /\n"),
        ("secret.txt", "s"),
        (".dockerignore", "*.md\nsecret*\n"),
    ];
    let context = kiln.context("c", &files);
    let said = kiln.fails(1, &["build", context.to_str().unwrap()]);
    assert!(said.contains("secret.txt") && said.contains(".dockerignore"), "{said}");
    assert!(said.contains(">>> COPY secret.txt /"), "{said}");
}

#[test]
fn a_missing_base_image_is_named() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM does-not-exist:1\n")]);
    let said = kiln.fails(1, &["build", context.to_str().unwrap()]);
    assert!(said.contains("does-not-exist:1") && said.contains("Dockerfile:1"), "{said}");
}

#[test]
fn a_stage_that_is_none_is_taken_for_an_image_and_the_error_says_both() {
    let kiln = Kiln::new();
    for line in ["COPY --from=bulid /x /x", "RUN --mount=from=bulid,target=/m true"] {
        let text = format!("FROM busybox AS build\nRUN touch /x\nFROM busybox\n{line}\n");
        let context = kiln.context("c", &[("Dockerfile", &text)]);
        let said = kiln.fails(1, &["build", context.to_str().unwrap()]);
        let expected =
            "no stage before this one is called `bulid`, and the image `bulid:latest` cannot be had";
        assert!(said.contains(expected) && said.contains("did you mean `build`?"), "{said}");
        assert!(said.contains(&format!(">>> {line}")), "{said}");
    }
}

#[test]
fn what_is_not_executed_yet_is_refused_by_name() {
    let kiln = Kiln::new();
    for url in ["https://example.org/x.git#main", "https://example.org/context.tar.gz"] {
        let said = kiln.fails(1, &["build", url]);
        assert!(said.contains("example.org"), "{said}");
    }
}

#[test]
fn a_missing_dockerfile_says_where_it_looked() {
    let kiln = Kiln::new();
    let context = kiln.context("empty", &[("README", "x")]);
    let said = kiln.fails(1, &["build", context.to_str().unwrap()]);
    assert!(said.contains("Dockerfile"), "{said}");
}
