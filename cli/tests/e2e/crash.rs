//! Kill -9 in the middle of things.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Kiln, show, traces_of, wait_for};

fn running(marker: &str) -> usize {
    let found = Command::new("pgrep").args(["-f", &format!("^sleep {marker}")]).output().unwrap();
    String::from_utf8_lossy(&found.stdout).lines().count()
}

fn cgroups_of(kiln: &Kiln) -> usize {
    let id = kiln.ok(&["info", "--format", "{{.CgroupParent}}"]);
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-path", &format!("*{id}/*")])
        .output()
        .unwrap();
    String::from_utf8_lossy(&found.stdout).lines().count()
}

#[test]
fn a_killed_build_leaves_nothing_after_the_next_command() {
    let kiln = Kiln::new();
    kiln.ok(&["pull", "-q", "busybox"]);
    let marker = format!("97{}", std::process::id());
    let dockerfile = format!("FROM busybox\nRUN echo first > /first\nRUN sleep {marker}\n");
    let context = kiln.context("c", &[("Dockerfile", &dockerfile)]);
    let mut build = kiln
        .command(&["build", "-t", "never", context.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the step", || running(&marker) == 1);
    build.kill().unwrap();
    build.wait().unwrap();
    wait_for("the step's end", || running(&marker) == 0);
    kiln.ok(&["images"]);
    assert_eq!(traces_of(kiln.root().to_str().unwrap()), Vec::<String>::new());
    assert_eq!(cgroups_of(&kiln), 0);
    assert_eq!(std::fs::read_dir(kiln.root().join("ingest")).unwrap().count(), 0);
    kiln.fails(1, &["inspect", "never"]);
    // What was finished before is remembered.
    let text = format!("FROM busybox\nRUN echo first > /first\nRUN sleep 0.{marker}\n");
    let again = kiln.build_text("again", &text);
    assert_eq!(again.matches("CACHED").count(), 1, "{again}");
}

#[test]
fn ctrl_c_ends_a_build_and_its_step() {
    let kiln = Kiln::new();
    let marker = format!("96{}", std::process::id());
    let context = kiln.context("c", &[("Dockerfile", &format!("FROM busybox\nRUN sleep {marker}\n"))]);
    let build = kiln
        .command(&["build", context.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the step", || running(&marker) == 1);
    Command::new("kill").args(["-INT", &build.id().to_string()]).status().unwrap();
    let output = build.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", show(&output));
    assert_eq!(running(&marker), 0);
    assert_eq!(cgroups_of(&kiln), 0);
}

#[test]
fn a_killed_supervisor_is_noticed() {
    let kiln = Kiln::new();
    let marker = format!("95{}", std::process::id());
    kiln.ok(&["run", "-d", "--name", "orphan", "--network", "none", "busybox", "sleep", &marker]);
    wait_for("its start", || running(&marker) == 1);
    let supervisor = kiln.inspect("orphan", "{{.State.SupervisorPid}}");
    Command::new("kill").args(["-9", &supervisor]).status().unwrap();
    wait_for("its end", || running(&marker) == 0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(kiln.inspect("orphan", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    kiln.ok(&["start", "orphan"]);
    assert_eq!(kiln.inspect("orphan", "{{.State.Status}}"), "running");
}
