//! kiln for somebody who is not root: builds, runs, pushes and serves in a user namespace.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{Kiln, registry, show, text};

/// A number that nobody on the machine has.
const USER: u32 = 424_242;
/// Seen by one process alone: a user with numbers of its own.
const WITH_NUMBERS: &str =
    "mount --bind passwd /etc/passwd && mount --bind numbers /etc/subuid && mount --bind numbers /etc/subgid";
/// What a build for this user may do like any other: own files, delete, replace folders, run as somebody else.
const DOCKERFILE: &str = "\
FROM busybox AS base
RUN mkdir -p /d/old /gone && chown 1000:1000 /d && test -c /dev/null && ps | grep -q '^ *1 '
RUN rm -r /d /gone && mkdir /d && echo new > /d/new
COPY --chown=33:44 file /file
RUN test \"$(ls /d)\" = new && test ! -e /gone && ! mknod /dev/x c 1 3 && ! touch /sys/fs/cgroup/x
USER 1000:1000
RUN test \"$(id -u):$(id -g)\" = 1000:1000 && touch /tmp/own
FROM base
RUN stat -c %u:%g /file /tmp/own > /tmp/owners
";

/// A user with a home.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> User {
        let home = tempfile::Builder::new().prefix("kiln-user-").tempdir().unwrap();
        let user = User { home };
        fs::set_permissions(user.home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["data", "run", "context"] {
            fs::create_dir(user.path(name)).unwrap();
            chown(user.path(name), Some(USER), Some(USER)).unwrap();
        }
        let line = format!("someone:x:{USER}:{USER}::/:/bin/sh\n");
        fs::write(user.path("passwd"), fs::read_to_string("/etc/passwd").unwrap() + &line).unwrap();
        fs::write(user.path("numbers"), "someone:7000000:65536\n").unwrap();
        fs::write(user.path("context/file"), "text\n").unwrap();
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A program of the user's after `prepare` was done as root in mounts of its own.
    fn command(&self, prepare: &str, words: &[&str]) -> Command {
        let script = format!(
            "{prepare} && exec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all -- \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).args(words).current_dir(self.home.path());
        command.env("KILN_CONFIG", std::env::var("KILN_TEST_CONFIG").unwrap()).env_remove("KILN_ROOT");
        command.env("HOME", self.home.path()).env("XDG_DATA_HOME", self.path("data"));
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    fn kiln(&self, prepare: &str, args: &[&str]) -> Output {
        let words: Vec<&str> = [env!("CARGO_BIN_EXE_kiln")].iter().chain(args).copied().collect();
        self.command(prepare, &words).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        succeeded(&self.kiln(WITH_NUMBERS, args))
    }

    #[track_caller]
    fn fails(&self, prepare: &str, args: &[&str]) -> String {
        let output = self.kiln(prepare, args);
        assert!(!output.status.success(), "{args:?}\n{}", show(&output));
        text(&output.stderr)
    }

    fn write(&self, dockerfile: &str) {
        fs::write(self.path("context/Dockerfile"), dockerfile).unwrap();
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", show(output));
    text(&output.stdout)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not so after a while: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_user_built_and_pushed_has_the_owners_that_were_asked_for() {
    let user = User::new();
    user.write(DOCKERFILE);
    let name = format!("{}/rootless/app:1", registry());
    user.ok(&["build", "-t", &name, "context"]);
    assert_eq!(user.ok(&["run", "--rm", &name, "cat", "/tmp/owners"]), "33:44\n1000:1000");
    user.ok(&["push", &name]);
    assert!(user.path("data/kiln/kiln.db").exists(), "the state is where a user's things are");
    // Root of the machine sees no number of the namespace.
    let kiln = Kiln::new();
    kiln.ok(&["pull", &name]);
    let owners = kiln.sh(&name, "stat -c %u:%g /file /tmp/own; ls /d; test ! -e /gone");
    assert_eq!(owners, "33:44\n1000:1000\nnew");
}

#[test]
fn a_user_without_more_numbers_builds_for_itself_alone() {
    let user = User::new();
    user.write("FROM busybox\nRUN rm -r /home && mkdir /home && id -u > /home/id\nCOPY file /file\n");
    succeeded(&user.kiln("true", &["build", "-t", "one", "context"]));
    let said = succeeded(&user.kiln("true", &["run", "--rm", "-t", "one", "sh", "-c", "cat /home/id; tty"]));
    assert_eq!(said.replace('\r', ""), "0\n/dev/pts/0");
    user.write("FROM busybox\nCOPY --chown=33 file /file\nRUN true\n");
    let said = user.fails("true", &["build", "context"]);
    assert!(said.contains("the owner `33:") && said.contains("/etc/subuid"), "{said}");
}

#[test]
fn root_of_a_namespace_that_somebody_else_made_builds_too() {
    let user = User::new();
    user.write(DOCKERFILE);
    let build = [env!("CARGO_BIN_EXE_kiln"), "build", "-t", "t", "context"];
    let words: Vec<&str> = ["unshare", "--map-root-user", "--map-auto"].into_iter().chain(build).collect();
    succeeded(&user.command(WITH_NUMBERS, &words).output().unwrap());
    // Those are the same numbers that kiln would have taken.
    assert_eq!(user.ok(&["run", "--rm", "t", "cat", "/tmp/owners"]), "33:44\n1000:1000");
}

#[test]
fn what_only_root_of_the_machine_can_keep_is_refused_by_name() {
    let user = User::new();
    user.write("FROM busybox\n");
    user.ok(&["build", "-t", "t", "context"]);
    for (args, expected) in [
        (&["--memory", "64m"][..], "the limit of memory cannot be kept"),
        (&["--pids-limit", "9"], "the limit of processes cannot be kept"),
        (&["--cpus", "1"], "the limit of CPUs cannot be kept"),
        (&["--publish", "8080:80"], "ports are not published for a user who is not root"),
    ] {
        let args: Vec<&str> = ["run", "--rm"].iter().chain(args).chain(&["t", "true"]).copied().collect();
        let said = user.fails(WITH_NUMBERS, &args);
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    user.ok(&["run", "--rm", "--network", "none", "t", "true"]);
}

/// A daemon of the user's, ended with this value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_of_a_user_listens_where_the_user_looks_and_builds() {
    let user = User::new();
    let socket = user.path("run/kiln.sock");
    let words = [env!("CARGO_BIN_EXE_kiln"), "serve"];
    let mut command = user.command(WITH_NUMBERS, &words);
    let log = fs::File::create(user.path("log")).unwrap();
    let _daemon = Daemon(command.stderr(log).spawn().unwrap());
    wait_until("the daemon listens", || UnixStream::connect(&socket).is_ok());
    let log = fs::read_to_string(user.path("log")).unwrap();
    assert!(log.contains("not root of the machine"), "{log}");
    user.write(DOCKERFILE);
    let docker = |args: &[&str]| {
        let words: Vec<&str> = ["docker"].iter().chain(args).copied().collect();
        let mut command = user.command("true", &words);
        command.env("DOCKER_HOST", format!("unix://{}", socket.display())).env("DOCKER_BUILDKIT", "0");
        succeeded(&command.env_remove("DOCKER_API_VERSION").output().unwrap())
    };
    docker(&["build", "-t", "t", "context"]);
    docker(&["run", "-d", "--name", "box", "t", "sleep", "1000"]);
    assert_eq!(docker(&["exec", "box", "cat", "/tmp/owners"]), "33:44\n1000:1000");
    assert_eq!(docker(&["exec", "-u", "1000", "box", "id", "-u"]), "1000");
    docker(&["rm", "-f", "box"]);
}

/// As in a pod or a container of docker, whose `/proc` has parts that are hidden.
#[test]
fn where_proc_is_hidden_steps_see_the_daemons_if_that_is_asked_for() {
    let user = User::new();
    let hidden = format!(
        "{WITH_NUMBERS} && mount --bind /dev/null /proc/timer_list && mount -t tmpfs none /proc/acpi"
    );
    user.write("FROM busybox\nRUN test -e /proc/self/exe && test $(id -u) = 0\n");
    let said = user.fails(&hidden, &["build", "--progress", "plain", "context"]);
    assert!(
        said.contains("mount proc on /proc") && said.contains("--oci-worker-no-process-sandbox"),
        "{said}"
    );
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kiln"), user.path("buildkitd")).unwrap();
    let config = std::env::var("KILN_TEST_CONFIG").unwrap();
    let words = ["./buildkitd", "--rootless", "--oci-worker-no-process-sandbox", "--config", &config];
    let _daemon = Daemon(user.command(&hidden, &words).stderr(Stdio::null()).spawn().unwrap());
    let socket = user.path("run/buildkit/buildkitd.sock");
    wait_until("the daemon listens", || UnixStream::connect(&socket).is_ok());
    let mut docker = user.command("true", &["docker", "build", "context"]);
    docker.env("DOCKER_HOST", format!("unix://{}", socket.display())).env("DOCKER_BUILDKIT", "0");
    succeeded(&docker.env_remove("DOCKER_API_VERSION").output().unwrap());
}

#[test]
fn rootless_is_what_buildkitd_is_for_a_user() {
    let user = User::new();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kiln"), user.path("buildkitd")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kiln"), user.path("buildctl")).unwrap();
    let mut command = user.command(WITH_NUMBERS, &["./buildkitd", "--rootless"]);
    let _daemon = Daemon(command.stderr(Stdio::null()).spawn().unwrap());
    let socket = user.path("run/buildkit/buildkitd.sock");
    wait_until("the daemon listens", || UnixStream::connect(&socket).is_ok());
    let address = format!("unix://{}", socket.display());
    let said =
        user.command("true", &["./buildctl", "--addr", &address, "debug", "workers"]).output().unwrap();
    assert!(succeeded(&said).contains("linux/"), "{}", show(&said));
    assert!(user.path("data/buildkit/kiln.db").exists());
}
