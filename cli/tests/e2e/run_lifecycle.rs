//! A container's life across commands.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Kiln, text, wait_for};

fn sleeper(kiln: &Kiln, name: &str, more: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name, "--network", "none"];
    args.extend(more);
    args.extend(["busybox", "sleep", "1000"]);
    kiln.ok(&args);
}

#[test]
fn stop_asks_then_kills_and_start_runs_again() {
    let kiln = Kiln::new();
    let polite = "trap 'echo bye; exit 5' TERM; while :; do sleep 0.1; done";
    kiln.ok(&["run", "-d", "--name", "polite", "--network", "none", "busybox", "sh", "-c", polite]);
    std::thread::sleep(Duration::from_millis(200));
    kiln.ok(&["stop", "polite"]);
    assert_eq!(kiln.inspect("polite", "{{.State.ExitCode}} {{.State.Status}}"), "5 exited");
    assert_eq!(kiln.ok(&["logs", "polite"]), "bye");

    sleeper(&kiln, "deaf", &["--stop-timeout", "1"]);
    let before = Instant::now();
    kiln.ok(&["stop", "deaf"]);
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(kiln.inspect("deaf", "{{.State.ExitCode}}"), "137");
    kiln.ok(&["start", "deaf"]);
    assert_eq!(kiln.inspect("deaf", "{{.State.Running}}"), "true");
    kiln.ok(&["kill", "deaf"]);
    wait_for("the kill", || kiln.inspect("deaf", "{{.State.Running}}") == "false");
}

#[test]
fn files_written_survive_a_restart_and_end_with_rm() {
    let kiln = Kiln::new();
    sleeper(&kiln, "box", &[]);
    kiln.ok(&["exec", "box", "sh", "-c", "echo kept > /file"]);
    kiln.ok(&["restart", "-t", "0", "box"]);
    assert_eq!(kiln.ok(&["exec", "box", "cat", "/file"]), "kept");
    let said = kiln.fails(1, &["rm", "box"]);
    assert!(said.contains("running") && said.contains("--force"), "{said}");
    kiln.ok(&["rm", "-f", "box"]);
    kiln.fails(1, &["inspect", "box"]);
}

#[test]
fn exec_enters_a_running_container() {
    let kiln = Kiln::new();
    sleeper(&kiln, "box", &["-e", "OF=container"]);
    assert_eq!(
        kiln.ok(&["exec", "-e", "MORE=1", "-w", "/tmp", "box", "sh", "-c", "echo $OF $MORE; pwd"]),
        "container 1\n/tmp"
    );
    assert_eq!(kiln.ok(&["exec", "-u", "nobody", "box", "id", "-u"]), "65534");
    assert_eq!(text(&kiln.with_input(&["exec", "-i", "box", "cat"], b"piped").stdout), "piped");
    assert_eq!(
        kiln.ok(&["exec", "box", "readlink", "/proc/self/ns/pid"]),
        kiln.ok(&["exec", "box", "readlink", "/proc/1/ns/pid"])
    );
    kiln.fails(9, &["exec", "box", "sh", "-c", "exit 9"]);
    kiln.fails(127, &["exec", "box", "no-such-program"]);
    let caps = kiln.ok(&["exec", "box", "grep", "-E", "CapEff|Seccomp:", "/proc/self/status"]);
    assert!(caps.contains("a80425fb") && caps.contains("Seccomp:\t2"), "{caps}");
    assert_eq!(
        kiln.ok(&["exec", "-t", "box", "sh", "-c", "test -t 1 && echo terminal"]).trim_end_matches('\r'),
        "terminal"
    );
}

#[test]
fn everything_in_it_ends_with_it() {
    let kiln = Kiln::new();
    let marker = format!("98{}", std::process::id());
    let script = format!("sleep {marker} & setsid sleep {marker} & sleep {marker}");
    kiln.ok(&["run", "-d", "--name", "family", "--network", "none", "busybox", "sh", "-c", &script]);
    let family = || {
        let found = Command::new("pgrep").args(["-f", &format!("^sleep {marker}")]).output().unwrap();
        text(&found.stdout).lines().count()
    };
    wait_for("three sleepers", || family() == 3);
    kiln.ok(&["rm", "-f", "family"]);
    wait_for("none", || family() == 0);
}

#[test]
fn names_are_unique_and_can_be_changed() {
    let kiln = Kiln::new();
    sleeper(&kiln, "taken", &[]);
    let said = kiln.fails(125, &["run", "-d", "--name", "taken", "--network", "none", "busybox", "true"]);
    assert!(said.contains("taken"), "{said}");
    kiln.ok(&["rename", "taken", "free"]);
    assert!(kiln.ok(&["ps"]).contains("free"));
    kiln.fails(1, &["inspect", "taken"]);
}

#[test]
fn a_restart_policy_starts_it_again() {
    let kiln = Kiln::new();
    let script = "echo again >> /count; exit 3";
    kiln.ok(&[
        "run",
        "-d",
        "--name",
        "stubborn",
        "--network",
        "none",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    wait_for("three tries", || kiln.inspect("stubborn", "{{.RestartCount}} {{.State.Status}}") == "2 exited");
    assert_eq!(kiln.inspect("stubborn", "{{.State.ExitCode}}"), "3");
}

#[test]
fn rm_on_exit_leaves_nothing() {
    let kiln = Kiln::new();
    kiln.ok(&["run", "-d", "--rm", "--name", "brief", "--network", "none", "busybox", "true"]);
    wait_for("its end", || kiln.ok(&["ps", "-a", "-q"]).is_empty());
    let left = || std::fs::read_dir(kiln.root().join("containers")).unwrap().count();
    wait_for("its files to go", || left() == 0);
}

#[test]
fn pause_stops_time_inside() {
    let kiln = Kiln::new();
    kiln.ok(&[
        "run",
        "-d",
        "--name",
        "clock",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "while :; do echo tick; sleep 0.05; done",
    ]);
    kiln.ok(&["pause", "clock"]);
    assert_eq!(kiln.inspect("clock", "{{.State.Status}}"), "paused");
    let lines = || kiln.ok(&["logs", "clock"]).lines().count();
    std::thread::sleep(Duration::from_millis(150));
    let before = lines();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lines(), before);
    kiln.ok(&["unpause", "clock"]);
    wait_for("ticks", || lines() > before);
}
