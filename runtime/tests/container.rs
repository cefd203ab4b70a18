//! What a container is: its namespaces, restrictions, files and end.

mod common;

use std::time::{Duration, Instant};

use common::{Image, bind, captured, output, read};
use kiln_runtime::{MountKind, NetworkSetup, Propagation, Rlimit, Stdio, UserMount, start};

#[test]
fn it_has_its_own_namespaces() {
    let (text, status) =
        Image::new().sh("for n in mnt pid ipc uts net cgroup; do busybox readlink /proc/self/ns/$n; done");
    assert!(status.success(), "{text}");
    let inside: Vec<&str> = text.lines().collect();
    for (name, inside) in ["mnt", "pid", "ipc", "uts", "net", "cgroup"].iter().zip(inside) {
        let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(outside.to_str().unwrap(), inside, "{name}");
    }
}

#[test]
fn the_host_network_can_be_kept() {
    let image = Image::new();
    let mut spec = image.spec(&["/bin/busybox", "readlink", "/proc/self/ns/net"]);
    spec.network = NetworkSetup::Host;
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(output(spec).unwrap().0.trim(), outside.to_str().unwrap());
}

#[test]
fn it_is_restricted_as_docker_restricts() {
    let image = Image::new();
    let (text, _) = output(image.spec(&["cat", "/proc/self/status"])).unwrap();
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    for name in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(name), "00000000a80425fb", "{name}");
    }
    for name in ["CapInh:", "CapAmb:"] {
        assert_eq!(field(name), "0000000000000000", "{name}");
    }
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "0");
    assert_eq!(field("SigBlk:"), "0000000000000000");
    assert_eq!(field("SigIgn:"), "0000000000000000");
}

#[test]
fn options_change_the_restrictions() {
    let image = Image::new();
    let status = |change: fn(&mut kiln_runtime::Security)| {
        let mut spec = image.spec(&["cat", "/proc/self/status"]);
        change(&mut spec.security);
        output(spec).unwrap().0
    };
    let text = status(|s| {
        s.cap_drop = vec!["ALL".into()];
        s.no_new_privileges = true;
    });
    assert!(text.contains("CapBnd:\t0000000000000000"), "{text}");
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    let text = status(|s| s.privileged = true);
    assert!(text.contains("Seccomp:\t0"), "{text}");
    assert!(!text.contains("CapEff:\t00000000a80425fb"), "{text}");
}

#[test]
fn kernel_files_are_masked_or_readonly() {
    let (text, _) = Image::new().sh("cat /proc/interrupts /proc/keys /proc/timer_list; ls /sys/firmware; \
         echo 1 > /proc/sys/kernel/domainname; echo x > /sys/kernel/x; \
         ls /dev; cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
    assert_eq!(text.matches("Read-only file system").count(), 2, "{text}");
    let shown: Vec<_> = text.lines().filter(|l| !l.contains("Read-only")).collect();
    let devices = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero 0";
    assert_eq!(shown.join(" "), devices, "{text}");
}

#[test]
fn no_descriptor_leaks() {
    let leak = std::fs::File::open("/etc/passwd").unwrap();
    rustix_clear_cloexec(&leak);
    let (text, _) = Image::new().sh("ls /proc/self/fd | busybox sort | busybox xargs");
    // The fourth is the directory that `ls` reads.
    assert_eq!(text.trim(), "0 1 2 3");
}

fn rustix_clear_cloexec(file: &std::fs::File) {
    // A duplicate that survives `exec`, as a careless caller of kiln might have left it.
    let copy = kiln_sys::fd::inheritable_copy(file).unwrap();
    std::mem::forget(copy);
}

#[test]
fn process_one_ends_everything() {
    let image = Image::new();
    let begun = Instant::now();
    let (_, status) = image.sh("sleep 1000 & sleep 1000 & exit 3");
    assert_eq!(status.code, 3);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    let image = Image::new();
    assert_eq!(image.sh("exit 42").1.code, 42);
    let mut running = start(image.spec(&["sleep", "1000"]), Stdio::Null).unwrap();
    running.kill(9).unwrap();
    let status = running.wait().unwrap();
    assert_eq!((status.code, status.signal), (137, Some(9)));
    let code = |args: &[&str]| start(image.spec(args), Stdio::Null).unwrap_err().exit_code();
    assert_eq!(code(&["none"]), 127);
    assert_eq!(code(&["/none"]), 127);
    assert_eq!(code(&["/etc/passwd"]), 126);
    assert_eq!(code(&["/etc"]), 126);
}

#[test]
fn a_program_of_another_machine_is_not_executable() {
    let image = Image::new();
    std::fs::write(image.lower("bin/alien"), "\x7fELFnonsense").unwrap();
    std::fs::set_permissions(image.lower("bin/alien"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let error = start(image.spec(&["alien"]), Stdio::Null).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string()), (126, "exec: \"alien\": exec format error".into()));
}

#[test]
fn dropping_kills() {
    let image = Image::new();
    let running = start(image.spec(&["sleep", "1000"]), Stdio::Null).unwrap();
    let pid = running.pid();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    drop(running);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn users_come_from_the_image() {
    let image = Image::new();
    let id = |user: &str| {
        let mut spec = image.spec(&[
            "sh",
            "-c",
            "id -u; id -g; id -G; echo $HOME; umask; busybox grep CapEff /proc/self/status",
        ]);
        spec.process.user = user.into();
        output(spec).map(|(text, _)| text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(id("").unwrap(), "0 0 0 /root 0022 CapEff: 00000000a80425fb");
    assert_eq!(id("app").unwrap(), "1000 1001 1001 4 /home/app 0022 CapEff: 0000000000000000");
    assert_eq!(id("7:8").unwrap(), "7 8 8 / 0022 CapEff: 0000000000000000");
    for wrong in ["4294967296", "-1", "00", "nobody"] {
        assert_eq!(id(wrong).unwrap_err().exit_code(), 125, "{wrong}");
    }
}

#[test]
fn links_in_place_of_kernel_folders_are_refused() {
    for name in ["proc", "sys", "dev"] {
        let image = Image::new();
        let canary = tempfile::tempdir().unwrap();
        std::fs::remove_dir(image.lower(name)).unwrap();
        std::os::unix::fs::symlink(canary.path(), image.lower(name)).unwrap();
        let error = start(image.spec(&["true"]), Stdio::Null).unwrap_err();
        assert_eq!(error.to_string(), format!("`/{name}` of the image is not a directory"));
        assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 0);
    }
}

#[test]
fn working_directories_are_made_and_stay_inside() {
    let image = Image::new();
    let run = |cwd: &str| {
        let mut spec = image.spec(&["/bin/busybox", "pwd"]);
        spec.process.cwd = cwd.into();
        output(spec).map(|(text, _)| text)
    };
    assert_eq!(run("/srv/app").unwrap(), "/srv/app\n");
    assert!(image.upper("srv/app").is_dir());
    for n in 3..20 {
        assert!(run(&format!("/proc/self/fd/{n}")).is_err());
    }
    assert!(run("/proc/1/root").is_err());
    assert!(run("relative").is_err());
}

#[test]
fn mount_points_that_were_made_are_taken_away() {
    let image = Image::new();
    for name in ["proc", "sys", "dev"] {
        std::fs::remove_dir(image.lower(name)).unwrap();
    }
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("resolv"), "nameserver 1.2.3.4\n").unwrap();
    let mut spec =
        image.spec(&["sh", "-c", "cat /etc/resolv.conf /data/resolv; ls -d /proc/1; echo x > /made"]);
    spec.etc.resolv_conf = Some(host.path().join("resolv"));
    spec.mounts.push(bind(host.path(), "/data", true));
    spec.mounts.push(bind(host.path(), "/srv/deep/data", true));
    let (text, status) = output(spec).unwrap();
    assert!(status.success(), "{text}");
    assert_eq!(text, "nameserver 1.2.3.4\nnameserver 1.2.3.4\n/proc/1\n");
    assert_eq!(image.changes(""), ["etc", "made"]);
    assert!(image.changes("etc").is_empty());
}

#[test]
fn user_mounts_bind_and_hide() {
    let image = Image::new();
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("file"), "hello\n").unwrap();
    let script = "cat /data/file; echo x > /data/no; echo y > /rw/yes; stat -f -c %T /scratch; \
                  echo z > /scratch/a && cat /one /dev/one";
    let mut spec = image.spec(&["sh", "-c", script]);
    spec.mounts.push(bind(host.path(), "/data", true));
    spec.mounts.push(bind(host.path(), "/rw", false));
    spec.mounts.push(bind(&host.path().join("file"), "/one", true));
    spec.mounts.push(bind(&host.path().join("file"), "/dev/one", true));
    spec.mounts.push(UserMount {
        kind: MountKind::Tmpfs { size: Some(1 << 20), mode: None, exec: false },
        target: "/scratch".into(),
        readonly: false,
        propagation: Propagation::Private,
    });
    let (text, status) = output(spec).unwrap();
    assert!(status.success(), "{text}");
    assert!(text.contains("can't create /data/no: Read-only file system"), "{text}");
    assert!(text.ends_with("tmpfs\nhello\nhello\n"), "{text}");
    assert!(host.path().join("yes").exists());
    for target in ["/", "/proc", "/proc/sys", "data", "/dev"] {
        let mut spec = image.spec(&["true"]);
        spec.mounts.push(bind(host.path(), target, false));
        assert!(start(spec, Stdio::Null).is_err(), "{target}");
    }
}

#[test]
fn a_readonly_root_refuses_writes() {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "echo x > /y; echo x > /dev/shm/y && echo fine"]);
    spec.readonly_rootfs = true;
    let (text, _) = output(spec).unwrap();
    assert!(text.contains("Read-only file system") && text.ends_with("fine\n"), "{text}");
}

#[test]
fn limits_names_and_environment_arrive() {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "ulimit -n; hostname; echo $A; echo $PATH"]);
    spec.rlimits.push(Rlimit { name: "nofile".into(), soft: 77, hard: 88 });
    spec.process.env.push("A=b".into());
    let (text, _) = output(spec).unwrap();
    assert_eq!(text, format!("77\nbox\nb\n{}\n", kiln_runtime::profile::DEFAULT_PATH));
    let mut spec = image.spec(&["true"]);
    spec.rlimits.push(Rlimit { name: "nonsense".into(), soft: 1, hard: 1 });
    assert!(start(spec, Stdio::Null).is_err());
}

#[test]
fn a_terminal_is_the_containers_own() {
    let image = Image::new();
    let size = kiln_runtime::WindowSize { rows: 11, columns: 99 };
    let mut spec = image.spec(&[
        "sh",
        "-c",
        "tty; busybox stty size; ls -l /dev/console; echo $TERM; echo x > /dev/tty",
    ]);
    spec.process.tty = true;
    let mut running = start(spec, Stdio::Pty { size: Some(size) }).unwrap();
    let master = running.take_master().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // Ends with an I/O error when the last process has closed the terminal.
        let _ = std::io::Read::read_to_end(&mut std::fs::File::from(master), &mut text);
        String::from_utf8(text).unwrap()
    });
    assert!(running.wait().unwrap().success());
    let text = reader.join().unwrap();
    assert!(text.starts_with("/dev/pts/0\r\n11 99\r\n"), "{text}");
    assert!(text.ends_with("xterm\r\nx\r\n"), "{text}");
}

#[test]
fn the_hosts_program_cannot_be_overwritten_through_proc() {
    let image = Image::new();
    let before = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    std::fs::write(image.lower("bin/evil"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(image.lower("bin/evil"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    assert_eq!(start(image.spec(&["evil"]), Stdio::Null).unwrap_err().exit_code(), 127);
    let (text, _) = image.sh("for i in 1 2 3; do echo x > /proc/1/exe; echo x > /proc/self/exe; done");
    assert!(text.contains("can't create"), "{text}");
    assert!(before == std::fs::read(std::env::current_exe().unwrap()).unwrap());
}

#[test]
fn input_and_output_are_the_given_ones() {
    let image = Image::new();
    let (stdio, file) = captured();
    let Stdio::Fds { stdout, stderr, .. } = stdio else { unreachable!() };
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut running =
        start(image.spec(&["cat"]), Stdio::Fds { stdin: reader.into(), stdout, stderr }).unwrap();
    std::io::Write::write_all(&mut writer, b"through").unwrap();
    drop(writer);
    assert!(running.wait().unwrap().success());
    assert_eq!(read(file), "through");
}

#[test]
fn the_control_group_is_gone_afterwards() {
    let image = Image::new();
    let running = start(image.spec(&["sleep", "1000"]), Stdio::Null).unwrap();
    let paths = running.cgroup().unwrap().paths().to_vec();
    assert!(!paths.is_empty());
    let pid = running.pid().to_string();
    for path in &paths {
        let procs = std::fs::read_to_string(path.join("cgroup.procs")).unwrap();
        assert!(procs.lines().any(|line| line == pid), "{}", path.display());
    }
    running.kill(15).unwrap();
    // Process 1 ignores what it has not asked for.
    assert!(std::path::Path::new("/proc").join(&pid).exists());
    drop(running);
    assert!(paths.iter().all(|path| !path.exists()));
}

#[test]
fn limits_of_the_group_hold() {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo unreached"]);
    spec.resources.pids = Some(4);
    let (text, status) = output(spec).unwrap();
    assert!(!status.success() && text.contains("can't fork"), "{text}");
}

#[test]
fn the_kernel_refuses_what_the_profile_withholds() {
    let image = Image::new();
    let script = "busybox unshare -m true; busybox mount -t tmpfs x /tmp; busybox chroot / true && echo fine";
    let (text, _) = image.sh(script);
    assert_eq!(
        text.matches("Operation not permitted").count() + text.matches("permission denied").count(),
        2,
        "{text}"
    );
    assert!(text.ends_with("fine\n"), "{text}");
}

#[test]
fn a_privileged_container_has_the_hosts_devices() {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "ls /dev; busybox mount -t tmpfs x /tmp && echo mounted"]);
    spec.security.privileged = true;
    let (text, status) = output(spec).unwrap();
    assert!(status.success() && text.ends_with("mounted\n"), "{text}");
    assert!(text.lines().any(|name| name == "kmsg"), "{text}");
}

#[tokio::test]
async fn a_cancelled_run_is_killed() {
    use kiln_runtime::{Cancel, Executor, LinuxExecutor};
    let image = Image::new();
    let cancel = Cancel::default();
    let run = LinuxExecutor.run(image.spec(&["sleep", "1000"]), Stdio::Null, cancel.clone());
    let stop = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    };
    let (status, ()) = tokio::join!(run, stop);
    assert_eq!(status.unwrap().signal, Some(9));
    let run = LinuxExecutor.run(image.spec(&["sh", "-c", "exit 4"]), Stdio::Null, Cancel::default());
    assert_eq!(run.await.unwrap().code, 4);
}

#[test]
fn ids_cannot_lead_elsewhere() {
    let image = Image::new();
    for id in ["", "..", "../x", "a/b", "a b", "x\0", &"x".repeat(129)] {
        let mut spec = image.spec(&["true"]);
        spec.id = id.to_owned();
        let error = start(spec, Stdio::Null).unwrap_err();
        assert!(error.to_string().starts_with("invalid container id"), "{error}");
    }
}
