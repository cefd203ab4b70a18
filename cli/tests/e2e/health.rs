//! Checks of health: asked in the container, counted, shown, and gone with it.

use crate::harness::{Kiln, wait_for};

const SLEEPS: [&str; 2] = ["sleep", "1000"];

/// Starts a container in the background with more options.
fn start(kiln: &Kiln, name: &str, image: &str, options: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL"];
    args.extend(options);
    args.push(image);
    args.extend(SLEEPS);
    kiln.ok(&args);
}

/// `.State.Health` of a container.
fn health(kiln: &Kiln, name: &str) -> serde_json::Value {
    serde_json::from_str(&kiln.inspect(name, "{{json .State.Health}}")).unwrap()
}

fn status(kiln: &Kiln, name: &str) -> String {
    kiln.inspect(name, "{{.State.Health.Status}}")
}

#[test]
fn an_images_check_runs_in_the_container_and_its_results_are_shown() {
    let kiln = Kiln::new();
    kiln.build_text(
        "asked",
        "FROM busybox
RUN echo app:x:1000:1000::/:/bin/sh >> /etc/passwd
USER app
WORKDIR /srv
ENV WELL=/tmp/well
HEALTHCHECK --interval=200ms --timeout=5s --retries=2 CMD pwd; id -un; ls $WELL
",
    );
    start(&kiln, "web", "asked", &[]);
    wait_for("failures", || status(&kiln, "web") == "unhealthy");
    assert!(kiln.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(unhealthy)"));
    kiln.ok(&["exec", "web", "touch", "/tmp/well"]);
    wait_for("a success", || status(&kiln, "web") == "healthy");
    let health = health(&kiln, "web");
    let log = health["Log"].as_array().unwrap();
    assert!(log.len() <= 5, "{health}");
    let last = log.last().unwrap();
    assert_eq!(
        (&last["ExitCode"], &last["Output"]),
        (&0.into(), &"/srv\napp\n/tmp/well\n".into()),
        "{health}"
    );
    assert_eq!(health["FailingStreak"], 0);
    assert!(kiln.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(healthy)"));
    assert_eq!(kiln.ok(&["ps", "-q", "--filter", "health=healthy"]).lines().count(), 1);
    kiln.ok(&["stop", "web"]);
    assert_eq!(status(&kiln, "web"), "unhealthy");
    kiln.ok(&["start", "web"]);
    wait_for("the file of before", || status(&kiln, "web") == "healthy");
}

#[test]
fn options_replace_what_the_image_says() {
    let kiln = Kiln::new();
    kiln.build_text("asked", "FROM busybox\nHEALTHCHECK --interval=200ms --retries=1 CMD false\n");
    start(&kiln, "none", "asked", &["--no-healthcheck"]);
    start(&kiln, "own", "asked", &["--health-cmd", "echo own"]);
    start(
        &kiln,
        "new",
        "busybox",
        &["--health-cmd", "exit 3", "--health-interval", "200ms", "--health-retries", "1"],
    );
    start(&kiln, "young", "asked", &["--health-start-period", "1h", "--health-start-interval", "200ms"]);
    wait_for("success", || status(&kiln, "own") == "healthy");
    wait_for("failure", || status(&kiln, "new") == "unhealthy");
    assert_eq!(health(&kiln, "new")["Log"][0]["ExitCode"], 3);
    let failures = || health(&kiln, "young")["Log"].as_array().unwrap().len();
    wait_for("failures that do not count", || failures() >= 2);
    assert_eq!(status(&kiln, "young"), "starting");
    let shown = kiln.ok(&["ps", "--format", "{{.Names}} {{.Status}}"]);
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(!line("none").contains('('), "{shown}");
    assert!(line("young").ends_with("(health: starting)"), "{shown}");
}

#[test]
fn a_check_that_hangs_or_floods_is_cut_and_ended() {
    let kiln = Kiln::new();
    let quick =
        ["--health-interval", "200ms", "--health-timeout", "300ms", "--health-retries", "1", "--health-cmd"];
    let with = |command: &'static str| [&quick[..], &[command]].concat();
    start(&kiln, "hangs", "busybox", &with("echo begun; sleep 1234"));
    start(&kiln, "floods", "busybox", &with("yes | head -c 100000; exit 0"));
    start(&kiln, "leaves", "busybox", &with("sleep 2345 & echo left"));
    start(&kiln, "absent", "busybox", &["--health-interval", "200ms", "--health-retries", "1"]);
    wait_for("the timeout", || status(&kiln, "hangs") == "unhealthy");
    let output = |name: &str| health(&kiln, name)["Log"][0]["Output"].as_str().unwrap().to_owned();
    assert!(output("hangs").contains("longer than 300ms: begun"), "{}", output("hangs"));
    assert_eq!(health(&kiln, "hangs")["Log"][0]["ExitCode"], -1);
    wait_for("the flood", || status(&kiln, "floods") == "healthy");
    assert!(output("floods").len() <= 4096);
    wait_for("what leaves something", || status(&kiln, "leaves") == "healthy");
    assert_eq!(output("leaves"), "left\n");
    // A check that runs now is a shell and what it waits for; that of earlier ones is gone.
    wait_for("three checks", || health(&kiln, "hangs")["Log"].as_array().unwrap().len() > 2);
    assert!(kiln.ok(&["top", "hangs"]).matches("sleep 1234").count() <= 2);
    kiln.ok(&["rm", "-f", "hangs", "floods", "leaves", "absent"]);
}
