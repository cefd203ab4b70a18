//! kiln where it is called `buildkitd` and `buildctl`, as the drivers of `docker buildx` call them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::daemon::Daemon;
use crate::harness::{Kiln, registry, show, text};

/// A folder with kiln under BuildKit's names.
fn programs(kiln: &Kiln) -> PathBuf {
    let folder = kiln.scratch("bin");
    for name in ["buildkitd", "buildctl"] {
        symlink(env!("CARGO_BIN_EXE_kiln"), folder.join(name)).unwrap();
    }
    folder
}

fn program(folder: &Path, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(folder.join(name));
    command.args(args).env_remove("BUILDKIT_HOST").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

#[track_caller]
fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", show(&output));
    text(&output.stdout)
}

#[track_caller]
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", show(&output));
    text(&output.stderr)
}

#[test]
fn clients_take_the_version_from_four_words() {
    let kiln = Kiln::new();
    let bin = programs(&kiln);
    for name in ["buildkitd", "buildctl"] {
        let said = ok(&mut program(&bin, name, &["--version"]));
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(words[..2], [name, "github.com/moby/buildkit"]);
        assert!(words.len() == 4 && words[2].starts_with("v0."), "{said}");
    }
}

#[test]
fn buildkitd_does_what_its_file_and_its_options_say() {
    let kiln = Kiln::new();
    let bin = programs(&kiln);
    let run = kiln.scratch("run");
    let (socket, log) = (run.join("buildkit/buildkitd.sock"), run.join("log"));
    let address = format!("unix://{}", socket.display());
    let file = run.join("buildkitd.toml");
    let toml = format!(
        "root = {:?}\ninsecure-entitlements = [\"network.host\"]\n[log]\nformat = \"json\"\n[grpc]\naddress = [{address:?}]\n\
         gid = 2\n[history]\nmaxEntries = 5\n[worker.oci]\nplatforms = [\"linux/arm64\"]\n[worker.oci.labels]\nfoo = \"bar\"\n\
         [dns]\nnameservers = [\"10.9.8.7\"]\n[registry.\"docker.io\"]\nmirrors = [{:?}]\n",
        kiln.root().to_str().unwrap(),
        registry(),
    );
    fs::write(&file, toml).unwrap();
    let args = [
        "--config",
        file.to_str().unwrap(),
        "--oci-worker-no-process-sandbox",
        "--oci-worker-labels",
        "more=1",
    ];
    let mut command = program(&bin, "buildkitd", &args);
    let mut daemon = Daemon::of(&kiln, command.stderr(fs::File::create(&log).unwrap()), socket.clone());
    assert_eq!(fs::metadata(&socket).unwrap().gid(), 2);

    let workers = ["--addr", &address, "debug", "workers"];
    let table = ok(&mut program(&bin, "buildctl", &workers));
    assert_eq!(table, "ID     PLATFORMS\nkiln   linux/arm64");
    let template = "{{range .}}{{.ID}} {{index .Labels \"foo\"}} {{index .Labels \"more\"}}{{end}}";
    let said = ok(&mut program(&bin, "buildctl", &[&workers[..], &["--format", template]].concat()));
    assert_eq!(said, "kiln bar 1");
    let verbose = ok(program(&bin, "buildctl", &["debug", "workers", "-v"]).env("BUILDKIT_HOST", &address));
    assert!(
        verbose.contains("foo:\tbar") && verbose.contains("BuildKit:\tgithub.com/moby/buildkit v0."),
        "{verbose}"
    );

    let context = kiln.context("dns", &[("Dockerfile", "FROM busybox\nRUN cat /etc/resolv.conf\n")]);
    let said = daemon.ok(&["build", context.to_str().unwrap()]);
    assert!(said.contains("nameserver 10.9.8.7"), "{said}");

    assert_eq!(daemon.stop(), Some(0));
    let lines: Vec<serde_json::Value> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let warned: Vec<&str> = lines
        .iter()
        .filter(|line| line["level"] == "warn")
        .filter_map(|line| line["message"].as_str())
        .collect();
    let place = format!("{}:8: `history` changes nothing here", file.display());
    assert_eq!(warned, ["`--oci-worker-no-process-sandbox` changes nothing here", &place]);
}

#[test]
fn buildctl_hands_on_what_both_sides_say() {
    let kiln = Kiln::new();
    let bin = programs(&kiln);
    let daemon = Daemon::start(&kiln);
    let address = format!("unix://{}", daemon.socket.display());
    let mut dial = program(&bin, "buildctl", &["--addr", &address, "dial-stdio"]);
    let mut child = dial.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Our side stays open: it ends when the daemon has said all.
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nOK"), "{answer}");
    assert!(child.wait().unwrap().success());
    drop(input);
    // An answer comes while both sides stay open, again and again.
    let mut child = dial.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = std::io::Read::read(&mut output, &mut bytes) {
            let _ = sender.send(bytes[..length].to_vec());
        }
    });
    for _ in 0..20 {
        input.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nOK") {
            answer.extend(answers.recv_timeout(Duration::from_secs(20)).expect("an answer"));
        }
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    // And the other way round: our end of input is handed on.
    let output = dial.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", show(&output));
}

#[test]
fn what_would_not_be_done_is_refused_by_name() {
    let kiln = Kiln::new();
    let bin = programs(&kiln);
    let root = kiln.root();
    let root = root.to_str().unwrap();
    let file = kiln.scratch("conf").join("buildkitd.toml");
    fs::write(&file, "[worker.oci]\nselinux = true\n").unwrap();
    let file = file.to_str().unwrap();
    let none = ["--config", "/nonexistent.toml", "--root", root];
    for (args, expected) in [
        (&["--rootless"][..], "`--rootless`: this is root of the machine; start it as another user"),
        (&["--oci-worker=false"], "`--oci-worker=false`: kiln has no other worker"),
        (&["--proxy-network=true"], "`--proxy-network`: steps would reach the network past the proxy"),
        (&["--allow-insecure-entitlement", "all"], "it is one of `network.host`"),
        (&["--addr", "tcp://127.0.0.1:0"], "TCP is served with mutual TLS alone"),
        (&["--tlscert", "/c.pem"], "TLS needs an authority, a certificate and a key"),
        (&["--oci-worker-gc-keepstorage", "much"], "it is numbers of MB"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let said = fails(&mut program(&bin, "buildkitd", &[&none[..], args].concat()));
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    let said = fails(&mut program(&bin, "buildkitd", &["--config", file, "--root", root]));
    assert!(said.contains("buildkitd.toml:2: `worker.oci.selinux`: steps would not be labelled"), "{said}");

    let said =
        fails(&mut program(&bin, "buildctl", &["--addr", "unix:///nonexistent.sock", "debug", "workers"]));
    assert!(said.contains("cannot connect to `unix:///nonexistent.sock`"), "{said}");
    let said = fails(&mut program(&bin, "buildctl", &["--addr", "tcp://127.0.0.1:1", "dial-stdio"]));
    assert!(said.contains("a daemon is asked on its socket here"), "{said}");
}
