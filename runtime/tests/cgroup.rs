//! Control groups on the host's own hierarchies, whichever version they are.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_runtime::cgroup::{Cgroup, Devices, Options, Resources, cleanup};

/// The parent of every test's group; emptied by each test, removed by the last one that can.
const PARENT: &str = "kiln-test";

fn name(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

fn create(test: &str, resources: &Resources, options: Options) -> Cgroup {
    Cgroup::create(PARENT, &name(test), resources, options).unwrap()
}

/// Runs a shell line as a member of the group.
fn spawn(cgroup: &Cgroup, script: &str) -> Child {
    let join: String = cgroup
        .paths()
        .iter()
        .map(|path| format!("echo 0 > {}/cgroup.procs || exit 9; ", path.display()))
        .collect();
    Command::new("sh")
        .args(["-c", &format!("{join} {script}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn finish(cgroup: &Cgroup) {
    cgroup.kill_all().unwrap();
    cgroup.remove().unwrap();
    assert!(cgroup.paths().iter().all(|path| !path.exists()));
    for path in cgroup.paths() {
        let _ = std::fs::remove_dir(path.parent().unwrap());
    }
}

#[test]
fn everything_in_a_group_dies_at_once() {
    let cgroup = create("kill", &Resources::default(), Options::default());
    let mut child = spawn(&cgroup, "(trap '' TERM; sleep 1000) & sleep 1000 & wait");
    eventually("three processes in the group", || cgroup.pids().unwrap().len() >= 3);
    cgroup.kill_all().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(cgroup.pids().unwrap(), Vec::<u32>::new());
    finish(&cgroup);
}

#[test]
fn a_frozen_group_stands_still_thaws_and_can_be_killed() {
    let options = Options { freezable: true, ..Options::default() };
    let cgroup = create("freeze", &Resources::default(), options);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ticks");
    let mut child = spawn(&cgroup, &format!("while :; do echo >> {}; sleep 0.002; done", file.display()));
    let ticks = || std::fs::read(&file).unwrap_or_default().len();
    eventually("ticking", || ticks() > 3);
    cgroup.freeze().unwrap();
    let before = ticks();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(ticks(), before);
    cgroup.thaw().unwrap();
    eventually("ticking again", || ticks() > before);
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    child.wait().unwrap();
    finish(&cgroup);
}

#[test]
fn limits_hold() {
    let resources = Resources {
        memory: Some(8 << 20),
        memory_swap: Some(8 << 20),
        nano_cpus: Some(500_000_000),
        pids: Some(4),
    };
    let cgroup = create("limits", &resources, Options::default());
    assert!(!cgroup.oom_killed());
    let forks =
        spawn(&cgroup, "sleep 0.1 & sleep 0.1 & sleep 0.1 & sleep 0.1 & sleep 0.1 & wait").wait().unwrap();
    assert!(!forks.success(), "a fifth process was made");
    let hog = spawn(&cgroup, "exec tail /dev/zero").wait().unwrap();
    assert!(!hog.success());
    assert!(cgroup.oom_killed());
    finish(&cgroup);
}

#[test]
fn devices_beyond_the_default_ones_do_not_open() {
    let has_controller =
        |cgroup: &Cgroup| cgroup.paths().iter().any(|path| path.join("devices.list").exists());
    let cgroup = create("devices", &Resources::default(), Options::default());
    let privileged = Options { devices: Devices::All, ..Options::default() };
    let all = create("devices-all", &Resources::default(), privileged);
    let directory = tempfile::tempdir().unwrap();
    let node: PathBuf = directory.path().join("zero-and-mem");
    let read = |cgroup: &Cgroup, major_minor: &str| {
        let _ = std::fs::remove_file(&node);
        let script = format!("mknod {0} c {major_minor} && exec head -c 1 {0} > /dev/null", node.display());
        spawn(cgroup, &script).wait().unwrap().success()
    };
    assert!(read(&cgroup, "1 5"));
    if has_controller(&cgroup) {
        assert!(!read(&cgroup, "1 11"), "the kernel log can be opened");
    }
    assert!(read(&all, "1 5"));
    finish(&cgroup);
    finish(&all);
}

#[test]
fn what_a_crash_left_is_found_again() {
    let cgroup = create("crash", &Resources::default(), Options { freezable: true, ..Options::default() });
    let mut child = spawn(&cgroup, "exec sleep 1000");
    eventually("the process", || !cgroup.pids().unwrap().is_empty());
    let paths = cgroup.paths().to_vec();
    drop(cgroup);
    assert_eq!(Cgroup::open(&paths).unwrap().pids().unwrap(), [child.id()]);
    cleanup(&PathBuf::from(PARENT).join(name("crash"))).unwrap();
    child.wait().unwrap();
    assert!(paths.iter().all(|path| !path.exists()));
    cleanup(&PathBuf::from(PARENT).join(name("never-was"))).unwrap();
}
