//! `deploy/`: the image with kiln as `buildkitd`, used as the drivers of `docker buildx` use it, and the manifests for a cluster.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Kiln, show, wait_for};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

#[test]
fn the_image_is_a_builder_for_the_drivers_of_buildx() {
    let kiln = Kiln::new();
    let program = kiln.scratch("program");
    fs::copy(env!("CARGO_BIN_EXE_kiln"), program.join("kiln")).unwrap();
    let given = format!("kiln={}", program.display());
    // Packages come from the network; what is shown here needs none of them.
    let args = ["--build-arg", "PACKAGES=", "--build-context", &given, "--network", "none"];
    kiln.build("builder", &deploy().join("image"), &args);
    // As the driver `docker-container` starts it: its flags, a volume for the state, privileged.
    let container =
        ["run", "-d", "--privileged", "--name", "builder", "-v", "state:/var/lib/buildkit", "builder"];
    kiln.ok(&[&container[..], &["--allow-insecure-entitlement=network.host"]].concat());
    wait_for("the builder", || {
        kiln.output(&["exec", "builder", "buildctl", "debug", "workers"]).status.success()
    });
    let version = kiln.ok(&["exec", "builder", "buildkitd", "--version"]);
    assert_eq!(version.split_whitespace().count(), 4, "{version}");
    let mut dial = kiln.command(&["exec", "-i", "builder", "buildctl", "dial-stdio"]);
    let mut dial = dial.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // As clients do, ours stays open until the answer is there.
    let mut input = dial.stdin.take().unwrap();
    input.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").unwrap();
    let answer = dial.wait_with_output().unwrap();
    assert!(show(&answer).contains("\r\n\r\nOK"), "{}", show(&answer));
    drop(input);

    // It builds, with a step in a container of its own: an image of the shell that is there, on the state of its own.
    let script = "mkdir -p /tmp/c && cd /tmp/c && cp -a --parents /bin /lib /lib64 /usr/bin/sh /usr/bin/dash /usr/lib64 /usr/lib/*/libc.so.6 \
                  /usr/lib/*/ld-linux* . && printf 'FROM scratch\\nCOPY . /\\nRUN [\"/bin/sh\", \"-c\", \"echo $((6*7)) > /made\"]\\n' \
                  > /tmp/Dockerfile && kiln --root /var/lib/buildkit build --network none -f /tmp/Dockerfile -o type=local,dest=/tmp/o . && cat /tmp/o/made";
    let built = kiln.output(&["exec", "builder", "sh", "-c", script]);
    assert!(built.status.success() && built.stdout.ends_with(b"42\n"), "{}", show(&built));
    kiln.ok(&["stop", "builder"]);
    assert_eq!(kiln.inspect("builder", "{{.State.ExitCode}}"), "0");
}

/// As `deploy/kubernetes-rootless` starts it, but for `newuidmap`, which comes from the network: root of steps is the user.
#[test]
fn the_rootless_image_is_a_builder_without_privileges() {
    let kiln = Kiln::new();
    let program = kiln.scratch("program");
    fs::copy(env!("CARGO_BIN_EXE_kiln"), program.join("kiln")).unwrap();
    let given = format!("kiln={}", program.display());
    let none = ["--build-arg", "PACKAGES=", "--build-arg", "UIDMAP=", "--network", "none"];
    let args = [&["--target", "rootless", "--build-context", &given][..], &none].concat();
    kiln.build("builder", &deploy().join("image"), &args);
    // Privileged is for the system calls alone: who is not root has no capability by it.
    let container =
        ["run", "-d", "--privileged", "--name", "builder", "-v", "state:/home/user/.local/share/buildkit"];
    kiln.ok(&[&container[..], &["builder", "--rootless", "--oci-worker-no-process-sandbox"]].concat());
    wait_for("the builder", || {
        kiln.output(&["exec", "builder", "buildctl", "debug", "workers"]).status.success()
    });
    assert_eq!(kiln.ok(&["exec", "builder", "id", "-u"]), "1000");
    let owner = kiln.ok(&["exec", "builder", "stat", "-c", "%u", "/home/user/.local/share/buildkit/kiln.db"]);
    assert_eq!(owner, "1000");
    kiln.ok(&["stop", "builder"]);
}

#[test]
fn the_options_in_the_manifests_are_options_of_buildkitd() {
    let manifest = fs::read_to_string(deploy().join("kubernetes/statefulset.yaml")).unwrap();
    let args = manifest.lines().skip_while(|line| line.trim() != "args:").skip(1);
    let args: Vec<&str> = args.map_while(|line| line.trim().strip_prefix("- ")).collect();
    assert!(args.len() > 10, "{args:?}");
    let config = deploy().join("kubernetes/buildkitd.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .arg("buildkitd")
        .args(&args)
        .arg("--version")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", show(&output));
    // The file is read before the certificates, which are not there.
    let args = args.iter().map(|arg| arg.replace("/etc/buildkit/buildkitd.toml", config.to_str().unwrap()));
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    let output = command.arg("buildkitd").args(args).arg("--root").arg(root.path()).output().unwrap();
    assert!(show(&output).contains("cannot use `/certs/"), "{}", show(&output));
}
