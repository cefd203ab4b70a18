//! Processes that join a running container.

mod common;

use common::{Image, captured, read};
use kiln_runtime::{ContainerState, Process, Running, Stdio, exec, kill_session, start};

fn sleeper(image: &Image) -> (Running, ContainerState) {
    let mut spec = image.spec(&["sleep", "1000"]);
    spec.process.cwd = "/srv".into();
    let security = spec.security.clone();
    let running = start(spec, Stdio::Null).unwrap();
    let cgroup_paths = running.cgroup().map(|c| c.paths().to_vec()).unwrap_or_default();
    let state = ContainerState { pid: running.pid(), cgroup_paths, security, rlimits: Vec::new() };
    (running, state)
}

fn process(args: &[&str]) -> Process {
    Process { args: args.iter().map(|a| (*a).to_owned()).collect(), ..Process::default() }
}

fn run(state: &ContainerState, process: Process) -> (String, i32) {
    let (stdio, file) = captured();
    let status = exec(state, process, stdio).unwrap().wait().unwrap();
    (read(file), status.code)
}

#[test]
fn it_is_in_the_same_namespaces_with_the_same_restrictions() {
    let image = Image::new();
    let (container, state) = sleeper(&image);
    let script = "for n in mnt pid ipc uts net cgroup; do busybox readlink /proc/self/ns/$n; done; \
                  busybox grep -E 'CapEff|CapInh|Seccomp:' /proc/self/status; busybox pwd; echo $HOME";
    let mut sh = process(&["sh", "-c", script]);
    sh.cwd = "/srv".into();
    let (text, code) = run(&state, sh);
    assert_eq!(code, 0, "{text}");
    let mut lines = text.lines();
    for name in ["mnt", "pid", "ipc", "uts", "net", "cgroup"] {
        let own = std::fs::read_link(format!("/proc/{}/ns/{name}", container.pid())).unwrap();
        assert_eq!(lines.next(), own.to_str(), "{name}");
    }
    let rest: Vec<_> = lines.collect();
    let expected = ["CapInh:\t0000000000000000", "CapEff:\t00000000a80425fb", "Seccomp:\t2", "/srv", "/root"];
    assert_eq!(rest, expected);
}

#[test]
fn it_sees_the_containers_processes_and_leaks_nothing() {
    let image = Image::new();
    let (_container, state) = sleeper(&image);
    let (text, _) =
        run(&state, process(&["sh", "-c", "cat /proc/1/cmdline; ls /proc/self/fd | busybox xargs"]));
    assert_eq!(text, "sleep\x001000\x000 1 2 3\n");
}

#[test]
fn codes_users_and_directories() {
    let image = Image::new();
    let (_container, state) = sleeper(&image);
    assert_eq!(run(&state, process(&["sh", "-c", "exit 9"])).1, 9);
    assert_eq!(exec(&state, process(&["none"]), Stdio::Null).unwrap_err().exit_code(), 127);
    assert_eq!(exec(&state, process(&["/etc/passwd"]), Stdio::Null).unwrap_err().exit_code(), 126);
    let mut id = process(&["id", "-u"]);
    id.user = "app".into();
    assert_eq!(run(&state, id.clone()).0, "1000\n");
    id.user = "4294967296".into();
    assert!(exec(&state, id, Stdio::Null).is_err());
    for n in 3..16 {
        let mut sh = process(&["true"]);
        sh.cwd = format!("/proc/self/fd/{n}");
        assert!(exec(&state, sh, Stdio::Null).is_err());
    }
}

#[test]
fn a_terminal_belongs_to_the_container() {
    let image = Image::new();
    let (_container, state) = sleeper(&image);
    let mut tty = process(&["tty"]);
    tty.tty = true;
    let mut running = exec(&state, tty, Stdio::Pty { size: None }).unwrap();
    let master = running.take_master().unwrap();
    assert!(running.wait().unwrap().success());
    let mut text = [0; 64];
    let n = std::io::Read::read(&mut std::fs::File::from(master), &mut text).unwrap();
    assert_eq!(&text[..n], b"/dev/pts/0\r\n");
}

#[test]
fn it_ends_with_the_container() {
    let image = Image::new();
    let (container, state) = sleeper(&image);
    let mut added = exec(&state, process(&["sleep", "1000"]), Stdio::Null).unwrap();
    drop(container);
    assert_eq!(added.wait().unwrap().signal, Some(9));
    assert!(exec(&state, process(&["true"]), Stdio::Null).is_err());
}

/// A check that hangs is killed with what it waits for and what it left beside it, and nothing else of the container is.
#[test]
fn what_a_process_started_is_killed_with_it() {
    let image = Image::new();
    let (container, state) = sleeper(&image);
    let others = || {
        let mut pids = container.cgroup().unwrap().pids().unwrap();
        pids.retain(|pid| *pid != container.pid() && !is_dead(*pid));
        pids
    };
    let script = "(busybox sleep 1001 & busybox sleep 1002) & busybox sleep 1003 | busybox sleep 1004";
    let mut added = exec(&state, process(&["sh", "-c", script]), Stdio::Null).unwrap();
    wait_for(|| others().len() >= 5);
    let mut beside = exec(&state, process(&["sleep", "1005"]), Stdio::Null).unwrap();
    kill_session(&added, &state).unwrap();
    assert_eq!(added.wait().unwrap().signal, Some(9));
    assert_eq!(others(), [beside.pid()]);
    beside.kill(9).unwrap();
    beside.wait().unwrap();
}

fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the time is up");
}
