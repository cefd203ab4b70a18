//! `kiln serve` on a socket of a test's own, and the real `docker` as its client.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Kiln, show, text, wait_for};

/// A daemon that runs until this value goes.
pub(crate) struct Daemon<'k> {
    kiln: &'k Kiln,
    child: Child,
    pub(crate) socket: PathBuf,
}

impl<'k> Daemon<'k> {
    pub(crate) fn start(kiln: &'k Kiln) -> Self {
        let socket = kiln.scratch("run").join("kiln.sock");
        let address = format!("unix://{}", socket.display());
        Daemon::of(kiln, kiln.command(&["serve", "--addr", &address]).stderr(Stdio::null()), socket)
    }

    /// One that is started by `command` and listens at `socket`.
    pub(crate) fn of(kiln: &'k Kiln, command: &mut Command, socket: PathBuf) -> Self {
        let daemon = Daemon { kiln, child: command.spawn().unwrap(), socket };
        wait_for("the daemon", || UnixStream::connect(&daemon.socket).is_ok());
        daemon
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Tells it to stop; how it ended.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        // One that has ended by itself is told below.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.child.wait().unwrap().code()
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `docker`, with the classic builder.
    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(args)
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("DOCKER_CONFIG", self.kiln.scratch("docker-config"))
            .env("DOCKER_BUILDKIT", "0")
            .env_remove("DOCKER_API_VERSION")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.docker(args).output().expect("docker is not installed; dev/test says what tests need")
    }

    /// Runs and expects success; standard output, trimmed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "docker {args:?} failed\n{}", show(&output));
        text(&output.stdout)
    }

    /// Runs and expects the exit code; standard error.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.output(args);
        assert_eq!(output.status.code(), Some(code), "docker {args:?}\n{}", show(&output));
        text(&output.stderr)
    }

    /// Runs with `input` as standard input.
    pub(crate) fn with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.docker(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Sends bytes as they are; everything that is answered until the connection ends, or a while has passed.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // A daemon that refuses early may not read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        text(&answer)
    }

    /// `METHOD /path` with headers and a body, on a connection of its own.
    pub(crate) fn ask(&self, line: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        self.raw(request.as_bytes())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let code = self.stop();
        if !std::thread::panicking() {
            assert_eq!(code, Some(0), "the daemon did not end in order");
        }
    }
}

/// What a directory of `/proc/PID` counts.
pub(crate) fn count(pid: u32, what: &str) -> usize {
    std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join(what)).unwrap().count()
}
