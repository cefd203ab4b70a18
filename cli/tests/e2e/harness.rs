//! A kiln of its own for each test: a fresh state root, removed with all that it made at the end.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The registry that `dev/base-images` serves, `host:port`.
pub(crate) fn registry() -> String {
    std::env::var("KILN_TEST_REGISTRY").expect("KILN_TEST_REGISTRY is not set: run the tests with dev/test")
}

/// A state root and the binary to use it with.
pub(crate) struct Kiln {
    dir: TempDir,
}

impl Kiln {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kiln-e2e-").tempdir().unwrap();
        Kiln { dir }
    }

    /// The state root.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A scratch folder beside the root, made if absent.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A build context of `files`.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.scratch(name);
        for (path, text) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let config = std::env::var("KILN_TEST_CONFIG")
            .expect("KILN_TEST_CONFIG is not set: run the tests with dev/test");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .args(args)
            .env("KILN_ROOT", self.root())
            .env("KILN_CONFIG", config)
            .env("DOCKER_CONFIG", self.dir.path().join("docker-config"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs and expects success; what it printed, trimmed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "kiln {args:?} failed\n{}", show(&output));
        text(&output.stdout)
    }

    /// Runs and expects the exit code; what it said on standard error.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.output(args);
        assert_eq!(output.status.code(), Some(code), "kiln {args:?}\n{}", show(&output));
        text(&output.stderr)
    }

    /// Builds `context` under a tag with plain progress, which it returns.
    #[track_caller]
    pub(crate) fn build(&self, tag: &str, context: &Path, more: &[&str]) -> String {
        let mut args = vec!["build", "--progress", "plain", "-t", tag];
        args.extend(more);
        args.push(context.to_str().unwrap());
        let output = self.output(&args);
        assert!(output.status.success(), "kiln {args:?} failed\n{}", show(&output));
        text(&output.stderr)
    }

    /// Builds a Dockerfile without other files.
    #[track_caller]
    pub(crate) fn build_text(&self, tag: &str, dockerfile: &str) -> String {
        let context =
            self.context(&format!("context-{}", tag.replace([':', '/'], "-")), &[("Dockerfile", dockerfile)]);
        self.build(tag, &context, &[])
    }

    /// Runs a shell command in a fresh container of `image`; its output.
    #[track_caller]
    pub(crate) fn sh(&self, image: &str, script: &str) -> String {
        self.ok(&["run", "--rm", "--network", "none", image, "sh", "-c", script])
    }

    /// A field of `kiln inspect`.
    #[track_caller]
    pub(crate) fn inspect(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "--format", template, name])
    }

    /// Pipes `input` to the command.
    pub(crate) fn with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }
}

impl Drop for Kiln {
    fn drop(&mut self) {
        let output = self.output(&["system", "reset", "--force"]);
        if !output.status.success() && !std::thread::panicking() {
            panic!("kiln system reset failed\n{}", show(&output));
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

pub(crate) fn show(output: &Output) -> String {
    format!("{}\n--- stdout\n{}\n--- stderr\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A program that is not kiln; its output, on success.
#[track_caller]
pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{program}: {error}; dev/test installs it");
    });
    assert!(output.status.success(), "{program} {args:?} failed\n{}", show(&output));
    text(&output.stdout)
}

/// Waits until `ready` says so.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A TCP port of the host that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One HTTP GET; the whole answer, or nothing if nobody answers.
pub(crate) fn http_get(address: &str) -> Option<String> {
    use std::io::Read as _;
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

/// The lines of `/proc/self/mountinfo`, cgroup folders and processes that mention `needle`.
pub(crate) fn traces_of(needle: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut found: Vec<String> = mounts.lines().filter(|l| l.contains(needle)).map(str::to_owned).collect();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let is_pid = entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit());
        let command_line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if is_pid && String::from_utf8_lossy(&command_line).contains(needle) {
            found.push(String::from_utf8_lossy(&command_line).replace('\0', " "));
        }
    }
    found
}
