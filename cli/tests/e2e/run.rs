//! `kiln run`: options, exit codes, output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::harness::{Kiln, show, text, wait_for};

const QUIET: [&str; 4] = ["run", "--rm", "--network", "none"];

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    QUIET.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn exit_codes_are_dockers() {
    let kiln = Kiln::new();
    kiln.ok(&["pull", "-q", "busybox"]);
    kiln.fails(7, &args(&["busybox", "sh", "-c", "exit 7"]));
    kiln.fails(137, &args(&["--init", "busybox", "sh", "-c", "kill -9 $$"]));
    let said = kiln.fails(127, &args(&["busybox", "no-such-program"]));
    assert!(said.contains("no-such-program"), "{said}");
    kiln.fails(126, &args(&["busybox", "/etc/passwd"]));
    kiln.fails(125, &args(&["--no-such-flag", "busybox"]));
    kiln.fails(125, &args(&["-w", "relative/path", "busybox", "true"]));
}

#[test]
fn output_and_input_pass_through() {
    let kiln = Kiln::new();
    let output = kiln.output(&args(&["busybox", "sh", "-c", "echo out; echo err >&2"]));
    assert_eq!(text(&output.stdout), "out", "{}", show(&output));
    assert!(text(&output.stderr).ends_with("err"), "{}", show(&output));
    let echoed = kiln.with_input(&args(&["-i", "busybox", "cat"]), b"through\n");
    assert_eq!(text(&echoed.stdout), "through", "{}", show(&echoed));
    let big = kiln.output(&args(&["busybox", "sh", "-c", "yes 0123456789 | head -c 3000000"]));
    assert_eq!(big.stdout.len(), 3_000_000, "{}", text(&big.stderr));
}

#[test]
fn the_environment_is_the_images_and_what_was_asked_for() {
    let kiln = Kiln::new();
    let file = kiln.scratch("env").join("list");
    fs::write(&file, "# comment\nFROM_FILE=1\n").unwrap();
    let mut command = kiln.command(&args(&[
        "-e",
        "A=b",
        "-e",
        "FROM_HOST",
        "--env-file",
        file.to_str().unwrap(),
        "-h",
        "named",
        "-w",
        "/tmp",
        "busybox",
        "sh",
        "-c",
        "env | sort; pwd; hostname",
    ]));
    let output = command.env("FROM_HOST", "yes").env("SECRET", "never").output().unwrap();
    let expected = [
        "A=b",
        "FROM_FILE=1",
        "FROM_HOST=yes",
        "HOME=/root",
        "HOSTNAME=named",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/tmp",
        "SHLVL=1",
        "/tmp",
        "named",
    ];
    assert_eq!(text(&output.stdout), expected.join("\n"), "{}", show(&output));
}

#[test]
fn users_are_looked_up_in_the_image() {
    let kiln = Kiln::new();
    let id = |user: &str| kiln.ok(&args(&["-u", user, "busybox", "id", "-u"]));
    assert_eq!(id("nobody"), "65534");
    assert_eq!(id("33"), "33");
    let groups = kiln.ok(&args(&["-u", "33:wheel", "busybox", "id", "-g"]));
    assert_eq!(groups, "10");
    for user in ["4294967296", "-1", "nobody-at-all"] {
        let said = kiln.fails(125, &args(&["-u", user, "busybox", "true"]));
        assert!(said.contains(user), "{said}");
    }
}

#[test]
fn folders_volumes_and_memory_are_mounted() {
    let kiln = Kiln::new();
    let folder = kiln.scratch("shared");
    fs::write(folder.join("host"), "from host\n").unwrap();
    let at = |options: &str| format!("{}:/in{options}", folder.display());
    let script = "cat /in/host; echo back > /in/guest";
    assert_eq!(kiln.ok(&args(&["-v", &at(""), "busybox", "sh", "-c", script])), "from host");
    assert_eq!(fs::read_to_string(folder.join("guest")).unwrap(), "back\n");
    kiln.fails(1, &args(&["-v", &at(":ro"), "busybox", "touch", "/in/no"]));
    let long = format!("type=bind,source={},target=/in,readonly", folder.display());
    assert_eq!(kiln.ok(&args(&["--mount", &long, "busybox", "cat", "/in/host"])), "from host");

    kiln.ok(&args(&["-v", "kept:/data", "busybox", "sh", "-c", "echo data > /data/f"]));
    assert_eq!(kiln.ok(&args(&["-v", "kept:/data", "busybox", "cat", "/data/f"])), "data");
    assert!(kiln.ok(&["volume", "ls", "-q"]).lines().any(|l| l == "kept"));
    kiln.ok(&["volume", "rm", "kept"]);

    let seen =
        kiln.ok(&args(&["--tmpfs", "/fast:size=1m", "busybox", "sh", "-c", "grep ' /fast ' /proc/mounts"]));
    assert!(seen.starts_with("tmpfs /fast tmpfs"), "{seen}");
    kiln.fails(1, &args(&["--read-only", "busybox", "touch", "/x"]));
}

#[test]
fn a_new_volume_starts_with_what_the_image_has_there() {
    let kiln = Kiln::new();
    kiln.build_text("seeded", "FROM busybox\nRUN mkdir -p /data && echo seed > /data/f && chown 33 /data\n");
    let script = "cat /data/f; stat -c %u /data";
    assert_eq!(kiln.ok(&args(&["-v", "fresh:/data", "seeded", "sh", "-c", script])), "seed\n33");
}

#[test]
fn limits_are_the_kernels() {
    let kiln = Kiln::new();
    let said = kiln.ok(&args(&[
        "-m",
        "32m",
        "--pids-limit",
        "20",
        "--cpus",
        "0.5",
        "busybox",
        "cat",
        "/proc/self/cgroup",
    ]));
    assert!(!said.is_empty());
    let output = kiln.output(&args(&[
        "-m",
        "16m",
        "busybox",
        "sh",
        "-c",
        "x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo alive",
    ]));
    assert_eq!(output.status.code(), Some(137), "{}", show(&output));
    let forks = kiln.output(&args(&[
        "--pids-limit",
        "5",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6 7 8 9; do sleep 2 & done; wait",
    ]));
    assert!(text(&forks.stderr).contains("fork"), "{}", show(&forks));
}

#[test]
fn a_container_is_in_the_control_group_that_was_named() {
    let kiln = Kiln::new();
    let group = format!("/kiln-e2e-{}/builders", std::process::id());
    let named = ["--cgroup-parent", &group, "--network", "none", "busybox", "sleep", "60"];
    let id = kiln.ok(&[&["run", "-d"], &named[..]].concat());
    let pid = kiln.ok(&["inspect", "--format", "{{.State.Pid}}", &id]);
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = format!("{group}/{id}");
    let places: Vec<PathBuf> = groups
        .lines()
        .filter(|line| line.ends_with(&own))
        .map(|line| match line.split(':').nth(1).unwrap() {
            "" => Path::new("/sys/fs/cgroup").to_owned(),
            name => Path::new("/sys/fs/cgroup").join(name.trim_start_matches("name=")),
        })
        .flat_map(|top| [top.join(&own[1..]), top.join("unified").join(&own[1..])])
        .filter(|place| place.is_dir())
        .collect();
    assert!(!places.is_empty(), "{groups}");
    assert_eq!(kiln.ok(&["inspect", "--format", "{{.HostConfig.CgroupParent}}", &id]), group);
    kiln.ok(&["rm", "-f", &id]);
    for place in places {
        assert!(!place.exists(), "{}", place.display());
        // The named one is its user's, who removes it.
        let named = place.parent().unwrap();
        fs::remove_dir(named).unwrap();
        fs::remove_dir(named.parent().unwrap()).unwrap();
    }
    for bad in ["/a/../b", "..", "a//b", "/"] {
        kiln.fails(125, &args(&["--cgroup-parent", bad, "busybox", "true"]));
    }
}

#[test]
fn detached_containers_outlive_the_command_and_keep_their_logs() {
    let kiln = Kiln::new();
    let cid = kiln.scratch("ids").join("cid");
    let id = kiln.ok(&[
        "run",
        "-d",
        "--name",
        "talker",
        "--cidfile",
        cid.to_str().unwrap(),
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo to out; echo to err >&2; sleep 60",
    ]);
    assert_eq!(fs::read_to_string(&cid).unwrap().trim(), id);
    wait_for("both lines", || {
        let logs = kiln.output(&["logs", "talker"]);
        text(&logs.stdout) == "to out" && text(&logs.stderr) == "to err"
    });
    assert_eq!(kiln.inspect("talker", "{{.State.Status}}"), "running");
    kiln.ok(&["rm", "-f", "talker"]);
    assert_eq!(kiln.ok(&["ps", "-a", "-q"]), "");
}

#[test]
fn logs_follow_until_the_end() {
    let kiln = Kiln::new();
    let script = "for i in 1 2 3 4; do echo line $i; sleep 0.2; done";
    kiln.ok(&["run", "-d", "--name", "counter", "--network", "none", "busybox", "sh", "-c", script]);
    let logs = kiln.command(&["logs", "-f", "counter"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = logs.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "line 1\nline 2\nline 3\nline 4");
    assert_eq!(kiln.ok(&["logs", "--tail", "2", "counter"]), "line 3\nline 4");
    assert_eq!(kiln.ok(&["wait", "counter"]), "0");
}

#[test]
fn an_init_reaps_and_a_terminal_is_a_terminal() {
    let kiln = Kiln::new();
    let first = kiln.ok(&args(&["--init", "busybox", "sh", "-c", "cat /proc/1/comm; echo $$"]));
    assert!(!first.starts_with("sh"), "{first}");
    let tty = kiln.ok(&args(&["-t", "busybox", "sh", "-c", "test -t 0 && test -t 1 && echo terminal"]));
    assert_eq!(tty.trim_end_matches('\r'), "terminal");
}

#[test]
fn hosts_can_be_added() {
    let kiln = Kiln::new();
    let hosts = kiln.ok(&args(&["--add-host", "db:10.1.2.3", "busybox", "cat", "/etc/hosts"]));
    assert!(hosts.lines().any(|l| l.split_whitespace().eq(["10.1.2.3", "db"])), "{hosts}");
}
