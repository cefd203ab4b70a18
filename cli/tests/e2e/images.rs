//! Images: pulled, named, listed, pushed, saved, loaded, imported.

use std::fs;

use crate::harness::{Kiln, registry, tool};

#[test]
fn pull_list_and_remove() {
    let kiln = Kiln::new();
    kiln.ok(&["pull", "nginx"]);
    kiln.ok(&["pull", "busybox:latest"]);
    let listed = kiln.ok(&["image", "ls"]);
    assert!(listed.lines().any(|l| l.starts_with("nginx") && l.contains("latest")), "{listed}");
    assert_eq!(kiln.ok(&["images", "-q"]).lines().count(), 2);
    kiln.ok(&["rmi", "nginx"]);
    assert!(!kiln.ok(&["images"]).contains("nginx"));
    let said = kiln.fails(1, &["rmi", "nginx"]);
    assert!(said.contains("nginx"), "{said}");
}

#[test]
fn a_web_server_from_the_registry() {
    let kiln = Kiln::new();
    let port = crate::harness::free_port();
    kiln.ok(&["run", "--name", "webserver", "-d", "-p", &format!("{port}:80"), "nginx"]);
    crate::harness::wait_for("nginx", || {
        crate::harness::http_get(&format!("127.0.0.1:{port}")).is_some_and(|a| a.contains("nginx"))
    });
    kiln.ok(&["stop", "webserver"]);
    assert_eq!(kiln.inspect("webserver", "{{.State.ExitCode}}"), "0");
}

#[test]
fn a_pushed_image_comes_back_the_same() {
    let kiln = Kiln::new();
    kiln.build_text("app", "FROM busybox\nRUN echo pushed > /file\nCMD [\"cat\", \"/file\"]\n");
    let name = format!("{}/e2e/roundtrip-{}:1", registry(), std::process::id());
    kiln.ok(&["tag", "app", &name]);
    kiln.ok(&["push", &name]);
    let id = kiln.inspect("app", "{{.Id}}");
    kiln.ok(&["rmi", &name, "app"]);
    kiln.ok(&["pull", &name]);
    assert_eq!(kiln.inspect(&name, "{{.Id}}"), id);
    assert_eq!(kiln.ok(&["run", "--rm", "--network", "none", &name]), "pushed");

    let other = Kiln::new();
    assert_eq!(other.ok(&["run", "--rm", "--network", "none", &name]), "pushed");
}

#[test]
fn save_and_load() {
    let kiln = Kiln::new();
    kiln.build_text("app:1", "FROM busybox\nRUN echo saved > /file\nCMD [\"cat\", \"/file\"]\n");
    let archive = kiln.scratch("out").join("x.tar");
    let archive = archive.to_str().unwrap();
    kiln.ok(&["save", "-o", archive, "app:1"]);
    let other = Kiln::new();
    let said = other.ok(&["load", "-i", archive]);
    assert!(said.contains("app:1"), "{said}");
    assert_eq!(other.ok(&["run", "--rm", "--network", "none", "app:1"]), "saved");
    assert_eq!(other.inspect("app:1", "{{.Id}}"), kiln.inspect("app:1", "{{.Id}}"));
}

#[test]
fn a_root_filesystem_becomes_an_image() {
    let kiln = Kiln::new();
    let tree = kiln.context("tree", &[("etc/hello", "imported\n")]);
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy("/bin/busybox", tree.join("bin/cat")).unwrap();
    let archive = kiln.scratch("out").join("rootfs.tar");
    tool("tar", &["-C", tree.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
    kiln.ok(&["import", "-c", "CMD [\"/bin/cat\", \"/etc/hello\"]", archive.to_str().unwrap(), "imported:1"]);
    assert_eq!(kiln.ok(&["run", "--rm", "--network", "none", "imported:1"]), "imported");
}

#[test]
fn history_and_inspect() {
    let kiln = Kiln::new();
    kiln.build_text("app", "FROM busybox\nENV A=1\nRUN echo x > /x\n");
    let history = kiln.ok(&["history", "--no-trunc", "app"]);
    assert!(history.contains("RUN /bin/sh -c echo x > /x # buildkit"), "{history}");
    assert!(history.contains("ENV A=1"), "{history}");
    let all: serde_json::Value = serde_json::from_str(&kiln.ok(&["inspect", "app"])).unwrap();
    assert_eq!(all[0]["Architecture"], "amd64");
    assert_eq!(all[0]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
}

#[test]
fn version_and_info() {
    let kiln = Kiln::new();
    assert!(kiln.ok(&["version"]).contains(env!("CARGO_PKG_VERSION")));
    let info = kiln.ok(&["info"]);
    assert!(info.contains(kiln.root().to_str().unwrap()), "{info}");
}

#[test]
fn a_private_registry_wants_a_login() {
    let kiln = Kiln::new();
    let folder = kiln.scratch("registry");
    let port = crate::harness::free_port();
    // `secret`, hashed with bcrypt at its lowest cost.
    fs::write(folder.join("htpasswd"), "me:$2y$04$VDXMsfziozsnr2GrCb44sO1eaqp.eQO7iXaeCp/bY3Z4Rmlh60WQu\n")
        .unwrap();
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {0}/data}}}}\n\
         http: {{addr: 127.0.0.1:{port}}}\nauth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}\n",
        folder.display()
    );
    fs::write(folder.join("config.yml"), config).unwrap();
    let mut server = std::process::Command::new("docker-registry")
        .arg("serve")
        .arg(folder.join("config.yml"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let host = format!("127.0.0.1:{port}");
    crate::harness::wait_for("the registry", || crate::harness::http_get(&host).is_some());
    let name = format!("{host}/private/app:1");
    kiln.build_text(&name, "FROM scratch\nLABEL a=b\nCOPY Dockerfile /\n");
    let said = kiln.fails(1, &["push", &name]);
    assert!(said.contains("kiln login"), "{said}");
    let wrong = kiln.with_input(&["login", "-u", "me", "--password-stdin", &host], b"wrong");
    assert!(!wrong.status.success());
    let right = kiln.with_input(&["login", "-u", "me", "--password-stdin", &host], b"secret");
    assert!(right.status.success(), "{}", crate::harness::show(&right));
    kiln.ok(&["push", &name]);
    kiln.ok(&["logout", &host]);
    kiln.fails(1, &["push", &name]);
    server.kill().unwrap();
    server.wait().unwrap();
}
