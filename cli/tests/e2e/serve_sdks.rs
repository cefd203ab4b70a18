//! Libraries that people's programs reach a daemon with.

use std::process::Command;

use crate::daemon::Daemon;
use crate::harness::{Kiln, text};

#[test]
fn docker_py_does_what_it_does_elsewhere() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/clients/docker_py.py");
    let output = Command::new("python3")
        .arg(script)
        .env("DOCKER_HOST", format!("unix://{}", daemon.socket.display()))
        .output()
        .expect("python3 with docker-py is needed; `dev/test` installs it");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "docker-py is content");
}
