//! `kiln build --verify`: builds that make the same twice, and builds that do not.

use serde_json::Value;

use crate::harness::{Kiln, registry, show, text};

fn base() -> String {
    format!("{}/library/busybox:latest", registry())
}

#[test]
fn the_same_twice_is_exported_and_anything_else_is_named() {
    let kiln = Kiln::new();
    let same = format!("FROM {}\nCOPY file /\nRUN touch -d @0 /made && chmod 600 /made\n", base());
    let context = kiln.context("same", &[("Dockerfile", &same), ("file", "x")]);
    let said = kiln.build("same", &context, &["--verify", "--sbom"]);
    assert!(said.contains("again: [3/3] RUN touch"), "the second build ran: {said}");
    assert!(said.contains("Verified: two builds from nothing made the same"), "{said}");
    assert_eq!(kiln.sh("same", "stat -c %a /made"), "600");
    assert!(kiln.inspect("same", "{{json .SBOM}}").contains("SPDX"), "what was asked to be said of it is");
    let object = kiln.ok(&["build", "-q", "--verify=json", context.to_str().unwrap()]);
    assert_eq!(serde_json::from_str::<Value>(&object).unwrap()["same"].as_bool(), Some(true), "{object}");

    let other =
        format!("FROM {}\nCOPY file /\n\nRUN cat /proc/sys/kernel/random/uuid > /etc/stamp\n", base());
    let context = kiln.context("other", &[("Dockerfile", &other), ("file", "x")]);
    let context = context.to_str().unwrap();
    let said = kiln.fails(1, &["build", "--verify", "-t", "other", context]);
    assert!(said.contains("layer 3 of 3, [3/3] RUN cat"), "{said}");
    assert!(said.contains("`/etc/stamp` content differs from byte "), "{said}");
    assert!(said.contains("Dockerfile:4"), "{said}");
    assert_eq!(kiln.ok(&["images", "-q", "other"]), "", "nothing was exported");
}

#[test]
fn times_alone_are_said_to_be_that() {
    let kiln = Kiln::new();
    let dockerfile = format!("FROM {}\nRUN echo same > /file\n", base());
    let context = kiln.context("times", &[("Dockerfile", &dockerfile)]);
    let context = context.to_str().unwrap();
    let said = kiln.fails(1, &["build", "--verify", context]);
    assert!(said.contains("mtime is ") && said.contains("SOURCE_DATE_EPOCH"), "{said}");

    let output = kiln.output(&["build", "-q", "--verify=json", context]);
    assert_eq!(output.status.code(), Some(1), "{}", show(&output));
    let found: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!((found["same"].as_bool(), found["timesOnly"].as_bool()), (Some(false), Some(true)), "{found}");
    assert_eq!((found["attribute"].as_str(), found["line"].as_u64()), (Some("mtime"), Some(2)), "{found}");
}
