//! What `kiln serve` does at signals, and what it tells who started it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::Daemon;
use crate::harness::{Kiln, free_port, registry, text, tool, wait_for};

/// A daemon with more options, whose log is a file.
fn start<'k>(kiln: &'k Kiln, more: &[&str], change: impl FnOnce(&mut Command)) -> (Daemon<'k>, PathBuf) {
    let run = kiln.scratch("run");
    let (socket, log) = (run.join("kiln.sock"), run.join("log"));
    let address = format!("unix://{}", socket.display());
    let mut command = kiln.command(&[&["serve", "--addr", &address][..], more].concat());
    command.stderr(fs::File::create(&log).unwrap());
    change(&mut command);
    (Daemon::of(kiln, &mut command, socket), log)
}

fn says(log: &Path, what: &str) -> bool {
    fs::read_to_string(log).unwrap().contains(what)
}

#[test]
fn the_configuration_is_read_again_and_a_broken_one_changes_nothing() {
    let kiln = Kiln::new();
    let file = kiln.scratch("conf").join("kiln.toml");
    let mirror = |host: &str| format!("[registry.\"docker.io\"]\nmirrors = [{host:?}]\n");
    // Nobody is there.
    fs::write(&file, mirror("127.0.0.1:1")).unwrap();
    let (daemon, log) = start(&kiln, &[], |command| {
        command.env("KILN_CONFIG", &file);
    });
    let mirrors = || daemon.ask("GET /info", "", "");
    assert!(mirrors().contains("127.0.0.1:1\""), "{}", mirrors());

    fs::write(&file, "[registry.\"docker.io\"]\nmirors = []\n").unwrap();
    daemon.signal(Signal::HUP);
    wait_for("the refusal", || says(&log, "stay as they were"));
    assert!(says(&log, "unknown key `mirors`"), "{}", fs::read_to_string(&log).unwrap());
    assert!(mirrors().contains("127.0.0.1:1\""), "{}", mirrors());

    fs::write(&file, mirror(&registry())).unwrap();
    daemon.signal(Signal::HUP);
    wait_for("the new mirror", || mirrors().contains(&registry()));
    let pulled = daemon.ask("POST /images/create?fromImage=busybox&tag=latest", "", "");
    assert!(pulled.contains("Downloaded newer image"), "{pulled}");
}

#[test]
fn certificates_are_read_again() {
    let kiln = Kiln::new();
    let dir = kiln.scratch("tls");
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (ca, ca_key, key, cert) = (file("ca.pem"), file("ca.key"), file("server.key"), file("server.pem"));
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let new = ["req", "-x509", "-days", "2"];
    tool("openssl", &[&new[..], &["-subj", "/CN=ca", "-keyout", &ca_key, "-out", &ca], &ec].concat());
    let certificate = |name: &str| {
        let name = format!("subjectAltName={name}");
        let by = ["-CA", &ca, "-CAkey", &ca_key, "-subj", "/CN=test", "-addext", &name];
        let rest = ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &cert];
        tool("openssl", &[&new[..], &by, &rest, &ec].concat());
    };
    certificate("IP:127.0.0.1");
    let port = free_port();
    let tcp = format!("tcp://127.0.0.1:{port}");
    let tls = ["--addr", &tcp, "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    let (daemon, log) = start(&kiln, &tls, |_| {});
    // What the server shows is a certificate for this host; a client's is of the same authority.
    let is_shown = |host: &str| {
        let (to, name) = (format!("127.0.0.1:{port}"), ["-verify_return_error", "-verify_hostname", host]);
        let name = if host.contains("127") { ["-verify_return_error", "-verify_ip", host] } else { name };
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &to, "-CAfile", &ca, "-cert", &cert, "-key", &key]).args(name);
        client.stdin(Stdio::null()).output().unwrap().status.success()
    };
    assert!(is_shown("127.0.0.1") && !is_shown("other.test"));
    certificate("DNS:other.test");
    daemon.signal(Signal::HUP);
    wait_for("the new certificate", || is_shown("other.test"));
    assert!(!is_shown("127.0.0.1"));
    fs::write(&ca, "no certificate").unwrap();
    daemon.signal(Signal::HUP);
    wait_for("the refusal", || says(&log, "stay as they were"));
    assert!(says(&log, "it holds no certificate"), "{}", fs::read_to_string(&log).unwrap());
}

#[test]
fn the_service_manager_hears_how_it_is() {
    let kiln = Kiln::new();
    let path = kiln.scratch("manager").join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut bytes = [0; 256];
        let count = manager.recv(&mut bytes).unwrap();
        text(&bytes[..count]).lines().next().unwrap_or_default().to_owned()
    };
    let (mut daemon, _) = start(&kiln, &[], |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(hear(), "READY=1");
    daemon.signal(Signal::HUP);
    assert_eq!((hear(), hear()), ("RELOADING=1".to_owned(), "READY=1".to_owned()));
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(hear(), "STOPPING=1");
}

/// A build that has told its step to wait for `go` in the build's network namespace: none, so it polls a cache mount.
fn slow_build(kiln: &Kiln, daemon: &Daemon<'_>) -> std::process::Child {
    let context =
        kiln.context("slow", &[("Dockerfile", "FROM busybox\nRUN echo begun; sleep 3; echo over\n")]);
    let log = fs::File::create(kiln.scratch("slow-log").join("log")).unwrap();
    let mut docker = daemon.docker(&["build", "--network", "none", "-t", "slow", context.to_str().unwrap()]);
    let child = docker.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let log = kiln.scratch("slow-log").join("log");
    wait_for("the step", || fs::read_to_string(&log).unwrap().contains("begun"));
    child
}

#[test]
fn builds_end_before_the_daemon_where_they_have_the_time() {
    let kiln = Kiln::new();
    let (mut daemon, log) = start(&kiln, &["--shutdown-timeout", "1m"], |_| {});
    let mut build = slow_build(&kiln, &daemon);
    assert_eq!(daemon.stop(), Some(0));
    assert!(build.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
    assert!(says(&log, "builds may end before this stops"));
    assert!(kiln.ok(&["images", "-q", "slow"]).starts_with(char::is_alphanumeric));
}

#[test]
fn a_second_signal_gives_builds_up_in_order() {
    let kiln = Kiln::new();
    let (mut daemon, log) = start(&kiln, &["--shutdown-timeout", "1h"], |_| {});
    let mut build = slow_build(&kiln, &daemon);
    daemon.signal(Signal::TERM);
    wait_for("the daemon to wait", || says(&log, "builds may end before this stops"));
    assert_eq!(daemon.stop(), Some(0));
    assert!(!build.wait().unwrap().success());
    assert_eq!(kiln.ok(&["images", "-q", "slow"]), "");
}
