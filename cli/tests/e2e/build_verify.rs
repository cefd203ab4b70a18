//! `kiln build --verify`: builds that make the same twice, and builds that do not.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Kiln, registry, show, text, wait_for};

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

/// A name that means another image by the time of the second build: `--pull` asks for it in both.
#[test]
fn a_base_image_that_moves_is_named() {
    let kiln = Kiln::new();
    let name = format!("{}/verify/moving:{}", registry(), std::process::id());
    let publish = |label: &str| {
        kiln.build_text(&name, &format!("FROM {}\nLABEL which={label}\n", base()));
        kiln.ok(&["push", "-q", &name]);
    };
    publish("first");
    let wait = "touch /c/begun; until [ -e /c/go ]; do sleep 0.1; done";
    let dockerfile = format!("FROM {name}\nRUN --mount=type=cache,target=/c {wait}\n");
    let context = kiln.context("moving", &[("Dockerfile", &dockerfile)]);
    let args = ["build", "-q", "--verify=json", "--pull", context.to_str().unwrap()];
    let build = kiln.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mounts = kiln.root().join("cachemounts");
    let mut begun = None;
    wait_for("the first build", || {
        begun = find(&mounts, "begun");
        begun.is_some()
    });
    publish("second");
    std::fs::write(begun.unwrap().with_file_name("go"), "").unwrap();
    let output = build.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", show(&output));
    let found: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(found["field"], "base image", "{found}");
    assert!(found["values"][0].as_str().unwrap().contains("verify/moving"), "{found}");
    assert_ne!(found["values"][0], found["values"][1]);
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let found = |path: PathBuf| if path.ends_with(name) { Some(path) } else { find(&path, name) };
    entries.into_iter().find_map(found)
}
