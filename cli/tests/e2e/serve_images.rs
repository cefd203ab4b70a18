//! The docker CLI with kiln's daemon: images and builds.

use std::fs;
use std::process::Stdio;

use crate::daemon::Daemon;
use crate::harness::{Kiln, registry, show, text, traces_of, wait_for};

#[test]
fn images_are_pulled_listed_named_and_removed() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let said = daemon.ok(&["pull", "busybox"]);
    assert!(said.contains("Status: Downloaded newer image for busybox:latest"), "{said}");
    assert!(said.contains("Pull complete") && said.contains("Digest: sha256:"), "{said}");
    assert!(daemon.ok(&["pull", "busybox"]).contains("Status: Image is up to date for busybox:latest"));

    let id = kiln.inspect("busybox", "{{.Id}}");
    assert_eq!(
        daemon.ok(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]),
        format!("busybox:latest {id}")
    );
    assert_eq!(
        daemon.ok(&["images", "--digests", "--format", "{{.Digest}}"]),
        kiln.inspect("busybox", "{{.Descriptor.digest}}")
    );
    assert_eq!(
        daemon.ok(&["image", "inspect", "busybox", "--format", "{{.Id}} {{.Os}} {{index .RepoTags 0}}"]),
        format!("{id} linux busybox:latest")
    );
    assert!(daemon.ok(&["history", "busybox", "--no-trunc"]).contains(&id));

    daemon.ok(&["tag", "busybox", "team/box:1"]);
    assert_eq!(daemon.ok(&["images", "-q", "team/*"]).lines().count(), 1);
    assert_eq!(daemon.ok(&["images", "-q", "--filter", "dangling=true"]), "");
    assert_eq!(daemon.ok(&["rmi", "team/box:1"]), "Untagged: team/box:1");
    let said = daemon.ok(&["rmi", "busybox"]);
    assert!(said.contains("Untagged: busybox:latest") && said.contains(&format!("Deleted: {id}")), "{said}");
    let said = daemon.fails(1, &["rmi", "busybox"]);
    assert!(said.contains("No such image: busybox"), "{said}");
    let said = daemon.fails(1, &["pull", &format!("{}/no/such:1", registry())]);
    assert!(said.contains("Error response from daemon: cannot pull"), "{said}");
}

#[test]
fn an_image_goes_to_a_registry_and_into_an_archive() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    let name = format!("{}/e2e/served-{}:1", registry(), std::process::id());
    daemon.ok(&["tag", "busybox", &name]);
    let said = daemon.ok(&["push", &name]);
    assert!(said.contains("The push refers to repository") && said.contains("1: digest: sha256:"), "{said}");
    let said = daemon.fails(1, &["push", "no/such:1"]);
    assert!(said.contains("An image does not exist locally with the tag: no/such"), "{said}");

    let archive = kiln.scratch("out").join("image.tar");
    let archive = archive.to_str().unwrap();
    daemon.ok(&["save", "-o", archive, &name]);
    let id = daemon.ok(&["image", "inspect", &name, "--format", "{{.Id}}"]);
    daemon.ok(&["rmi", "-f", &id]);
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    assert_eq!(daemon.ok(&["load", "-i", archive]), format!("Loaded image: {name}"));
    assert_eq!(daemon.ok(&["image", "inspect", &name, "--format", "{{.Id}}"]), id);
    daemon.ok(&["rmi", &name]);
    assert!(daemon.ok(&["pull", &name]).contains("Downloaded newer image"));
    assert_eq!(daemon.ok(&["image", "inspect", &name, "--format", "{{.Id}}"]), id);
    let missing = daemon.fails(1, &["save", "-o", archive, "no/such"]);
    assert!(missing.contains("No such image: no/such"), "{missing}");
}

#[test]
fn the_classic_builder_builds() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let dockerfile = "FROM busybox\nARG WHO=nobody\nCOPY file /\nRUN echo for $WHO; cat /file > /copied\nCMD [\"cat\", \"/copied\"]\n";
    let context = kiln.context(
        "context",
        &[
            ("Dockerfile", dockerfile),
            ("file", "from the context\n"),
            ("ignored", "x"),
            (".dockerignore", "ignored\n"),
        ],
    );
    let context = context.to_str().unwrap();
    let said = daemon.ok(&[
        "build",
        "-t",
        "app:1",
        "-t",
        "app:2",
        "--build-arg",
        "WHO=me",
        "--label",
        "l=m",
        context,
    ]);
    for part in [
        "Step 1/3 : FROM",
        "RUN echo for me",
        "for me\n",
        "Successfully built ",
        "Successfully tagged app:1\n",
        "Successfully tagged app:2",
    ] {
        assert!(said.contains(part), "no `{part}` in\n{said}");
    }
    let id = kiln.inspect("app:1", "{{.Id}}");
    assert!(said.contains(&format!("Successfully built {}", &id["sha256:".len()..][..12])), "{said}");
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", "app:2"]), "from the context");
    assert_eq!(daemon.ok(&["image", "inspect", "app:1", "--format", "{{.Config.Labels.l}}"]), "m");

    let again = daemon.ok(&["build", "-t", "app:1", "--build-arg", "WHO=me", "--label", "l=m", context]);
    assert!(again.contains("Using cache") && !again.contains("for me\n"), "{again}");
    assert_eq!(daemon.ok(&["build", "-q", "--build-arg", "WHO=me", "--label", "l=m", context]), id);
    let file = kiln.scratch("out").join("iid");
    daemon.ok(&[
        "build",
        "--iidfile",
        file.to_str().unwrap(),
        "--build-arg",
        "WHO=me",
        "--label",
        "l=m",
        context,
    ]);
    assert_eq!(fs::read_to_string(file).unwrap(), id);
}

#[test]
fn a_build_that_fails_says_why() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let context = kiln.context(
        "context",
        &[
            ("Dockerfile", "FROM busybox\nRUN echo before; exit 3\n"),
            ("Other", "FROM busybox\nCOPY missing /\n"),
            ("Wrong", "FRM busybox\n"),
        ],
    );
    let context = context.to_str().unwrap();
    let output = daemon.output(&["build", context]);
    assert_eq!(output.status.code(), Some(3), "the step's own: {}", show(&output));
    assert!(text(&output.stdout).contains("before"), "{}", show(&output));
    assert!(text(&output.stderr).contains("exit code: 3"), "{}", show(&output));
    let other = format!("{context}/Other");
    let said = daemon.fails(1, &["build", "-f", &other, context]);
    assert!(said.contains("missing"), "{said}");
    let wrong = format!("{context}/Wrong");
    let said = daemon.fails(1, &["build", "-f", &wrong, context]);
    assert!(said.contains("FRM"), "{said}");
    // A path of this machine is none of the context.
    let answer = daemon.ask("POST /build?dockerfile=/etc/passwd", "Content-Type: application/x-tar\r\n", "");
    assert!(!answer.contains("root:"), "{answer}");
}

#[test]
fn a_build_ends_with_its_client_and_with_the_daemon() {
    let kiln = Kiln::new();
    let mut daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    // Nobody else sleeps for so long.
    let time = format!("3{:06}", std::process::id());
    let context =
        kiln.context("context", &[("Dockerfile", &format!("FROM busybox\nRUN echo begun; sleep {time}\n"))]);
    let runs = || !traces_of(&format!("sleep\0{time}")).is_empty();
    let start = |daemon: &Daemon| {
        let mut build = daemon.docker(&["build", context.to_str().unwrap()]);
        build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut client = start(&daemon);
    wait_for("the step", runs);
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the end of the step", || !runs());

    let mut client = start(&daemon);
    wait_for("the step", runs);
    assert_eq!(daemon.stop(), Some(0));
    assert!(!runs(), "the daemon left a step running");
    assert!(!client.wait().unwrap().success());
}

#[test]
fn disk_use_is_told_and_given_back() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    daemon.ok(&["create", "--name", "old", "busybox"]);
    daemon.ok(&["volume", "create", "kept"]);
    let lines = daemon.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert!(
        lines.contains("Images 1 1")
            && lines.contains("Containers 1 0")
            && lines.contains("Local Volumes 1 0"),
        "{lines}"
    );
    assert!(daemon.ok(&["system", "df", "-v"]).contains("busybox"));
    daemon.ok(&[
        "run",
        "--name",
        "full",
        "--network",
        "none",
        "-v",
        "kept:/kept",
        "busybox",
        "sh",
        "-c",
        "head -c 3000000 /dev/zero | tee /mine > /kept/file",
    ]);
    let size = daemon.ok(&["ps", "-as", "--filter", "name=full", "--format", "{{.Size}}"]);
    assert!(size.starts_with("3MB (virtual 5"), "{size}");
    let volumes = daemon.ok(&[
        "system",
        "df",
        "-v",
        "--format",
        "{{range .Volumes}}{{.Name}} {{.Links}} {{.Size}}{{end}}",
    ]);
    assert!(volumes.starts_with("kept 1 3"), "{volumes}");
    let said = daemon.ok(&["system", "prune", "-f"]);
    assert!(said.contains("Deleted Containers:") && said.contains("Total reclaimed space"), "{said}");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    assert_eq!(daemon.ok(&["images", "-q"]).lines().count(), 1);
    let said = daemon.ok(&["system", "prune", "-af"]);
    assert!(said.contains("untagged: busybox:latest"), "{said}");
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "kept");
}
