//! What a container can and cannot see and do.

use crate::harness::{Kiln, show};

#[test]
fn it_has_its_own_namespaces() {
    let kiln = Kiln::new();
    let inside =
        kiln.sh("busybox", "for n in mnt pid ipc uts net cgroup; do readlink /proc/self/ns/$n; done");
    for (name, link) in ["mnt", "pid", "ipc", "uts", "net", "cgroup"].iter().zip(inside.lines()) {
        let ours = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(ours.to_str().unwrap(), link);
    }
    assert_eq!(kiln.sh("busybox", "ls /proc | grep -c '^[0-9]'"), "3");
}

#[test]
fn its_privileges_are_dockers() {
    let kiln = Kiln::new();
    let status = kiln.sh("busybox", "cat /proc/self/status");
    let field = |name: &str| {
        status.lines().find_map(|l| l.strip_prefix(&format!("{name}:"))).unwrap().trim().to_owned()
    };
    assert_eq!(field("CapEff"), "00000000a80425fb");
    assert_eq!(field("CapBnd"), "00000000a80425fb");
    assert_eq!(field("CapInh"), "0000000000000000");
    assert_eq!(field("Seccomp"), "2");
    let dropped = kiln.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN",
        "busybox",
        "grep",
        "CapEff",
        "/proc/self/status",
    ]);
    assert!(dropped.ends_with("0000000000000001"), "{dropped}");
    let privileged =
        kiln.ok(&["run", "--rm", "--network", "none", "--privileged", "busybox", "cat", "/proc/self/status"]);
    assert!(privileged.contains("Seccomp:\t0"), "{privileged}");
}

#[test]
fn masked_and_read_only_paths() {
    let kiln = Kiln::new();
    let script = "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; \
        echo 1 > /proc/sys/kernel/domainname || echo refused; ls /sys/firmware | wc -l; touch /sys/x || echo refused";
    assert_eq!(kiln.sh("busybox", &format!("{{ {script}; }} 2>/dev/null")), "0\nrefused\n0\nrefused");
}

#[test]
fn no_descriptor_leaks_in() {
    let kiln = Kiln::new();
    assert_eq!(kiln.sh("busybox", "ls /proc/self/fd"), "0\n1\n2\n3");
    kiln.build_text("fds", "FROM busybox\nRUN ls /proc/self/fd > /fds\n");
    assert_eq!(kiln.sh("fds", "cat /fds"), "0\n1\n2\n3");
}

#[test]
fn dangerous_calls_are_refused() {
    let kiln = Kiln::new();
    for script in [
        "mount -t tmpfs x /mnt",
        "unshare -m true",
        "swapoff -a",
        "mknod /tmp/sda b 8 0 && cat /tmp/sda",
        "reboot -f",
    ] {
        let output = kiln.output(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
        assert!(
            !output.status.success() || script.starts_with("swapoff"),
            "{script} was allowed\n{}",
            show(&output)
        );
    }
}

#[test]
fn a_working_directory_cannot_leave_the_root() {
    let kiln = Kiln::new();
    for n in 3..20 {
        let path = format!("/proc/self/fd/{n}");
        let output = kiln.output(&["run", "--rm", "--network", "none", "-w", &path, "busybox", "ls"]);
        assert!(!output.status.success(), "{path} was entered\n{}", show(&output));
    }
}
