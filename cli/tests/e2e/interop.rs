//! What other people's tools make of kiln's images.

use std::process::Command;

use crate::harness::{Kiln, registry, show, text, tool};

/// Podman with everything it keeps in the test's folder.
fn podman(kiln: &Kiln, args: &[&str]) -> String {
    let dir = kiln.scratch("podman");
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let output = Command::new("podman")
        .args([
            "--root",
            &at("root"),
            "--runroot",
            &at("run"),
            "--runtime",
            "runc",
            "--cgroup-manager",
            "cgroupfs",
        ])
        .args(["--storage-driver", "vfs"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "podman {args:?}\n{}", show(&output));
    text(&output.stdout)
}

fn pushed(kiln: &Kiln, name: &str) -> String {
    let context = kiln.context(
        name,
        &[("Dockerfile", "FROM busybox\nRUN echo layer > /file && rm /etc/group\nCOPY f /f\nCMD [\"cat\", \"/file\", \"/f\"]\n"), ("f", "copied\n")],
    );
    let full = format!("{}/e2e/{name}-{}:1", registry(), std::process::id());
    kiln.build(&full, &context, &[]);
    kiln.ok(&["push", &full]);
    full
}

#[test]
fn skopeo_reads_and_copies_what_was_pushed() {
    let kiln = Kiln::new();
    let name = format!("docker://{}", pushed(&kiln, "skopeo"));
    let seen: serde_json::Value =
        serde_json::from_str(&tool("skopeo", &["inspect", "--tls-verify=false", &name])).unwrap();
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 3);
    let to = format!("oci:{}:copied", kiln.scratch("layout").display());
    tool("skopeo", &["--insecure-policy", "copy", "--src-tls-verify=false", &name, &to]);
    let bundle = kiln.scratch("bundles").join("b");
    let image = format!("{}:copied", kiln.scratch("layout").display());
    tool("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]);
    let file = |path: &str| bundle.join("rootfs").join(path);
    assert_eq!(std::fs::read_to_string(file("file")).unwrap(), "layer\n");
    assert_eq!(std::fs::read_to_string(file("f")).unwrap(), "copied\n");
    assert!(!file("etc/group").exists());
}

#[test]
fn podman_runs_what_was_pushed_and_what_was_saved() {
    let kiln = Kiln::new();
    let name = pushed(&kiln, "podman");
    // This machine's root may not raise limits, which podman does unless told.
    let run =
        ["run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
    podman(&kiln, &["pull", "--quiet", "--tls-verify=false", &name]);
    assert_eq!(podman(&kiln, &[&run[..], &[&name]].concat()), "layer\ncopied");
    podman(&kiln, &["rmi", &name]);
    let archive = kiln.scratch("out").join("x.tar");
    kiln.ok(&["save", "-o", archive.to_str().unwrap(), &name]);
    podman(&kiln, &["load", "--quiet", "-i", archive.to_str().unwrap()]);
    assert_eq!(podman(&kiln, &[&run[..], &[&name]].concat()), "layer\ncopied");
    podman(&kiln, &["rmi", "--all", "--force"]);
}

#[test]
fn podman_takes_its_platform_of_an_index() {
    let kiln = Kiln::new();
    let dockerfile = "FROM scratch\nARG TARGETARCH\nLABEL for=$TARGETARCH\nCOPY Dockerfile /\n";
    let context = kiln.context("index", &[("Dockerfile", dockerfile)]);
    let name = format!("{}/e2e/podman-index-{}:1", registry(), std::process::id());
    kiln.build(&name, &context, &["--platform", "linux/amd64,linux/arm64"]);
    kiln.ok(&["push", &name]);
    let label = |name: &str| {
        podman(&kiln, &["inspect", "--format", "{{.Architecture}} {{.Config.Labels.for}}", name])
    };
    podman(&kiln, &["pull", "--quiet", "--tls-verify=false", "--platform", "linux/arm64", &name]);
    assert_eq!(label(&name), "arm64 arm64");
    podman(&kiln, &["rmi", &name]);
    let archive = kiln.scratch("out").join("x.tar");
    kiln.ok(&["save", "-o", archive.to_str().unwrap(), &name]);
    podman(&kiln, &["load", "--quiet", "-i", archive.to_str().unwrap()]);
    assert_eq!(label(&name), "amd64 amd64");
    podman(&kiln, &["rmi", "--all", "--force"]);
}

#[test]
fn the_state_root_is_an_oci_layout() {
    let kiln = Kiln::new();
    kiln.ok(&["pull", "busybox"]);
    let source = format!("oci:{}:docker.io/library/busybox:latest", kiln.root().display());
    let seen: serde_json::Value = serde_json::from_str(&tool("skopeo", &["inspect", &source])).unwrap();
    assert_eq!(seen["Architecture"], "amd64");
    let to = format!("dir:{}", kiln.scratch("copy").display());
    tool("skopeo", &["--insecure-policy", "copy", &source, &to]);
}

#[test]
fn images_of_other_tools_are_loaded() {
    let kiln = Kiln::new();
    let out = kiln.scratch("out");
    let source = format!("docker://{}/library/busybox:latest", registry());
    for kind in ["docker-archive", "oci-archive"] {
        let archive = out.join(kind);
        let to = format!("{kind}:{}:loaded/{kind}:1", archive.display());
        tool("skopeo", &["--insecure-policy", "copy", "--src-tls-verify=false", &source, &to]);
        kiln.ok(&["load", "-i", archive.to_str().unwrap()]);
        assert_eq!(kiln.sh(&format!("loaded/{kind}:1"), "echo runs"), "runs");
    }
}
