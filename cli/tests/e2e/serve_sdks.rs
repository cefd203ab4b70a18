//! Libraries that people's programs reach a daemon with.

use std::process::Command;

use crate::daemon::Daemon;
use crate::harness::{Kiln, registry, text};

/// Runs a script of `testdata/clients` with a daemon of its own; what it says at its end.
#[track_caller]
fn run(mut interpreter: Command, script: &str) -> String {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let output = interpreter
        .arg(format!("{}/../testdata/clients/{script}", env!("CARGO_MANIFEST_DIR")))
        .env("DOCKER_HOST", format!("unix://{}", daemon.socket.display()))
        .env("KILN_TEST_REGISTRY", registry())
        .env("TESTCONTAINERS_RYUK_DISABLED", "true")
        .output()
        .expect("an interpreter is missing; `dev/test` installs what the tests need");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The folder where `dev/test` puts clients that no package of the machine has.
fn clients() -> String {
    std::env::var("KILN_TEST_CLIENTS").unwrap_or_else(|_| "/var/tmp/kiln-dev/clients".to_owned())
}

#[test]
fn docker_py_does_what_it_does_elsewhere() {
    assert_eq!(run(Command::new("python3"), "docker_py.py"), "docker-py is content");
}

#[test]
fn testcontainers_for_python_do_what_they_do_elsewhere() {
    let python = Command::new(format!("{}/python/bin/python3", clients()));
    assert_eq!(run(python, "testcontainers_py.py"), "Testcontainers is content");
}

#[test]
fn dockerode_does_what_it_does_elsewhere() {
    let mut node = Command::new("node");
    node.env("NODE_PATH", format!("{}/node/node_modules", clients()));
    assert_eq!(run(node, "dockerode.js"), "dockerode is content");
}
