//! The docker CLI with kiln's daemon: containers, execs, volumes, networks, events.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::daemon::Daemon;
use crate::harness::{Kiln, free_port, http_get, show, text, wait_for};

const QUIET: [&str; 4] = ["run", "--rm", "--network", "none"];

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    QUIET.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn run_passes_output_input_and_the_exit_code() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    // The image is not here: the client pulls it first.
    let output = daemon.output(&args(&["busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]));
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "out", "{}", show(&output));
    assert!(text(&output.stderr).ends_with("err"), "{}", show(&output));
    let echoed = daemon.with_input(&args(&["-i", "busybox", "cat"]), b"through\n");
    assert_eq!(text(&echoed.stdout), "through", "{}", show(&echoed));
    let big = daemon.output(&args(&["busybox", "sh", "-c", "yes 0123456789 | head -c 3000000"]));
    assert_eq!(big.stdout.len(), 3_000_000, "{}", text(&big.stderr));
    let said = daemon.fails(127, &args(&["busybox", "no-such-program"]));
    assert!(said.contains("no-such-program"), "{said}");
    daemon.fails(126, &args(&["busybox", "/etc/passwd"]));
    let said = daemon.fails(125, &args(&["--dns", "1.1.1.1", "busybox", "true"]));
    assert!(said.contains("kiln does not have `Dns` of containers"), "{said}");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "", "`--rm` leaves nothing");
}

#[test]
fn options_reach_the_container() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    let said = daemon.ok(&args(&[
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "-h",
        "named",
        "-u",
        "65534",
        "--tmpfs",
        "/t:size=1m",
        "-v",
        "data:/data",
        "--entrypoint",
        "sh",
        "busybox",
        "-c",
        "echo $A; pwd; hostname; id -u; df /t | tail -1 | cut -c1-5; touch /data/x 2>&1 | head -c 9",
    ]));
    assert_eq!(said, "b\n/tmp\nnamed\n65534\ntmpfs\ntouch: /d");
    daemon.ok(&[
        "create",
        "--name",
        "made",
        "--label",
        "tier=front",
        "--restart",
        "on-failure:3",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "-p",
        "127.0.0.1::80",
        "--health-cmd",
        "true",
        "busybox",
        "true",
    ]);
    let inspect = |template: &str| daemon.ok(&["inspect", "made", "--format", template]);
    assert_eq!(
        inspect(
            "{{.State.Status}} {{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}"
        ),
        "created 67108864 500000000 on-failure"
    );
    assert_eq!(
        inspect("{{.Config.Labels.tier}} {{.Config.Cmd}} {{.Config.Healthcheck.Test}}"),
        "front [true] [CMD-SHELL true]"
    );
    assert_eq!(inspect("{{.Id}}"), kiln.inspect("made", "{{.Id}}"));
    assert_eq!(
        daemon.ok(&[
            "ps",
            "-a",
            "--filter",
            "label=tier=front",
            "--format",
            "{{.Names}} {{.State}} {{.Image}}"
        ]),
        "made created busybox"
    );
}

#[test]
fn a_container_in_the_background_is_watched_and_ended() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    let script = "echo first; while [ ! -e /go ]; do sleep 0.05; done; echo second >&2; trap 'exit 9' TERM; while :; do sleep 0.05; done";
    let id = daemon.ok(&["run", "-d", "--name", "back", "--network", "none", "busybox", "sh", "-c", script]);
    assert_eq!(daemon.ok(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"]), format!("{id} back"));
    assert!(daemon.ok(&["ps"]).contains("Up "));
    wait_for("the first line", || daemon.ok(&["logs", "back"]) == "first");

    let mut follow =
        daemon.docker(&["logs", "-f", "back"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    daemon.ok(&["exec", "back", "touch", "/go"]);
    let mut errors = BufReader::new(follow.stderr.take().unwrap());
    line.clear();
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "second\n", "standard error is told from standard output");

    assert!(daemon.ok(&["top", "back"]).contains("sleep 0.05"));
    daemon.ok(&["pause", "back"]);
    assert!(daemon.ok(&["ps"]).contains("(Paused)"));
    daemon.ok(&["unpause", "back"]);
    daemon.ok(&["rename", "back", "front"]);
    let waiting = daemon.docker(&["wait", "front"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    daemon.ok(&["stop", "front"]);
    assert_eq!(text(&waiting.wait_with_output().unwrap().stdout), "9");
    assert!(follow.wait().unwrap().success(), "a followed log ends with its container");
    assert_eq!(
        daemon.ok(&["inspect", "front", "--format", "{{.State.Status}} {{.State.ExitCode}}"]),
        "exited 9"
    );
    let time = daemon.ok(&["logs", "--timestamps", "--tail", "1", "front"]);
    assert!(time.starts_with("20") || time.is_empty(), "{time}");
    daemon.ok(&["restart", "-t", "0", "front"]);
    let said = daemon.fails(1, &["rm", "front"]);
    assert!(said.contains("running"), "{said}");
    assert_eq!(daemon.ok(&["rm", "-f", "front"]), "front");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    let said = daemon.fails(1, &["rm", "front"]);
    assert!(said.contains("No such container: front"), "{said}");
}

#[test]
fn a_stopped_container_starts_again_attached() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    daemon.ok(&[
        "create",
        "-i",
        "--name",
        "again",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "read line; echo got $line; exit 4",
    ]);
    for word in ["one", "two"] {
        let output = daemon.with_input(&["start", "-ai", "again"], format!("{word}\n").as_bytes());
        assert_eq!(
            (text(&output.stdout), output.status.code()),
            (format!("got {word}"), Some(4)),
            "{}",
            show(&output)
        );
    }
}

#[test]
fn exec_runs_beside_and_tells_its_code() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    daemon.ok(&["run", "-d", "--name", "host", "--network", "none", "busybox", "sleep", "300"]);
    let output = daemon.output(&[
        "exec",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "host",
        "sh",
        "-c",
        "echo $A; pwd; echo err >&2; exit 5",
    ]);
    assert_eq!(
        (text(&output.stdout).as_str(), text(&output.stderr).as_str(), output.status.code()),
        ("b\n/tmp", "err", Some(5))
    );
    let echoed = daemon.with_input(&["exec", "-i", "host", "cat"], b"through\n");
    assert_eq!(text(&echoed.stdout), "through", "{}", show(&echoed));
    daemon.ok(&["exec", "-d", "host", "touch", "/made"]);
    wait_for("the detached exec", || {
        daemon.output(&["exec", "host", "test", "-e", "/made"]).status.success()
    });
    let output = daemon.output(&["exec", "host", "no-such-program"]);
    assert_eq!(output.status.code(), Some(127), "{}", show(&output));
    assert!(text(&output.stderr).contains("executable file not found"), "{}", show(&output));
    let said = daemon.fails(1, &["exec", "nosuch", "true"]);
    assert!(said.contains("No such container: nosuch"), "{said}");
    daemon.ok(&["rm", "-f", "host"]);
}

#[test]
fn a_terminal_is_a_terminal() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    let in_terminal = |words: &str| {
        let docker = daemon.docker(&[]);
        let mut script = Command::new("script");
        script
            .args(["-qec", &format!("stty rows 33 cols 111; docker {words}"), "/dev/null"])
            .stdin(Stdio::null());
        for (name, value) in docker.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let output = script.output().unwrap();
        (text(&output.stdout).replace('\r', ""), output.status.code())
    };
    let size =
        "sh -c 'test -t 0 && test -t 1 && for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done; stty size; exit 6'";
    let (said, code) = in_terminal(&format!("run --rm -it --network none busybox {size}"));
    // `script` echoes the end of its own input first.
    assert_eq!((said.trim_start_matches("^@").trim(), code), ("33 111", Some(6)));
    daemon.ok(&["run", "-d", "--name", "host", "--network", "none", "busybox", "sleep", "300"]);
    let (said, code) = in_terminal(&format!("exec -it host {size}"));
    assert_eq!((said.trim_start_matches("^@").trim(), code), ("33 111", Some(6)));
    daemon.ok(&["rm", "-f", "host"]);
}

/// Everything that `request` is answered until the connection ends, where `typed` is sent once the stream is there.
fn attached(daemon: &Daemon, request: &str, typed: &[u8]) -> String {
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    stream.write_all(typed).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    text(&head) + &text(&rest)
}

#[test]
fn keys_leave_a_terminal_and_its_program_goes_on() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    daemon.ok(&["run", "-dit", "--name", "shell", "--network", "none", "busybox", "cat"]);
    let line = "POST /containers/shell/attach?stream=1&stdin=1&stdout=1";
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    let answer =
        attached(&daemon, &format!("{line} HTTP/1.1\r\nHost: d\r\n{upgrade}\r\n"), b"typed\n\x10\x11");
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("application/vnd.docker.raw-stream"), "{answer}");
    let own = format!("{line}&detachKeys=ctrl-x HTTP/1.1\r\nHost: d\r\n{upgrade}\r\n");
    assert!(attached(&daemon, &own, b"\x10\x11\x18").starts_with("HTTP/1.1 101"));
    assert_eq!(daemon.ok(&["ps", "--format", "{{.Names}}"]), "shell");
    wait_for("the log", || daemon.ok(&["logs", "shell"]).contains("typed"));
    daemon.ok(&["rm", "-f", "shell"]);
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    daemon.ok(&["run", "-d", "--name", "silent", "--network", "none", "busybox", "sleep", "300"]);
    let threads = || crate::daemon::count(daemon.pid(), "task");
    let many = || {
        let commands: [&[&str]; 4] =
            [&["attach", "silent"], &["logs", "-f", "silent"], &["wait", "silent"], &["events"]];
        let start =
            |args: &&[&str]| daemon.docker(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let children: Vec<_> = (0..4).flat_map(|_| commands.iter().map(start).collect::<Vec<_>>()).collect();
        std::thread::sleep(std::time::Duration::from_millis(500));
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    };
    many();
    // Threads that have nothing to do go after five seconds; the pool that inflated the image stays.
    let pool = std::thread::available_parallelism().unwrap().get();
    wait_for("threads to end", || threads() <= 7 + pool);
    assert_eq!(daemon.ok(&["exec", "silent", "echo", "well"]), "well");
    (0..3).for_each(|_| drop(daemon.ok(&args(&["busybox", "true"]))));
    let zombies = || {
        // Each thread has its own children.
        let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
        let children =
            threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let children: Vec<String> = children.collect();
        let is_zombie = |pid: &&str| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
        };
        children.iter().flat_map(|list| list.split_whitespace()).filter(is_zombie).count()
    };
    wait_for("children to be noted", || zombies() == 0);
    daemon.ok(&["rm", "-f", "silent"]);
}

#[test]
fn a_daemon_may_go_and_come_back() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "long",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "while [ ! -e /go ]; do sleep 0.05; done; exit 3",
    ]);
    drop(daemon);
    assert_eq!(kiln.inspect("long", "{{.State.Status}}"), "running");
    let daemon = Daemon::start(&kiln);
    let waiting = daemon.docker(&["wait", "long"]).stdout(Stdio::piped()).spawn().unwrap();
    daemon.ok(&["exec", "long", "touch", "/go"]);
    assert_eq!(text(&waiting.wait_with_output().unwrap().stdout), "3");
}

#[test]
fn ports_volumes_and_networks() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "nginx"]);
    let port = free_port();
    daemon.ok(&["run", "-d", "--name", "web", "-p", &format!("{port}:80"), "-v", "pages:/pages", "nginx"]);
    wait_for("nginx", || {
        http_get(&format!("127.0.0.1:{port}")).is_some_and(|answer| answer.contains("nginx"))
    });
    assert!(daemon.ok(&["port", "web"]).contains(&format!("80/tcp -> 0.0.0.0:{port}")));
    assert!(daemon.ok(&["ps"]).contains(&format!("{port}->80/tcp")));
    let names = daemon.ok(&[
        "network",
        "inspect",
        "bridge",
        "--format",
        "{{range .Containers}}{{.Name}}{{end}} {{.Driver}}",
    ]);
    assert_eq!(names, "web bridge");
    assert_eq!(daemon.ok(&["network", "ls", "--format", "{{.Name}}"]), "bridge\nhost\nnone");
    let said = daemon.fails(1, &["network", "create", "front"]);
    assert!(said.contains("kiln does not have networks of one's own"), "{said}");
    daemon.fails(1, &["network", "rm", "bridge"]);

    assert_eq!(daemon.ok(&["volume", "create", "--label", "a=b", "mine"]), "mine");
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "mine\npages");
    assert_eq!(daemon.ok(&["volume", "ls", "-q", "--filter", "label=a=b"]), "mine");
    assert_eq!(daemon.ok(&["volume", "inspect", "mine", "--format", "{{.Driver}} {{.Labels.a}}"]), "local b");
    let said = daemon.fails(1, &["volume", "rm", "pages"]);
    assert!(said.contains("in use"), "{said}");
    daemon.ok(&["rm", "-f", "web"]);
    assert!(daemon.ok(&["volume", "prune", "-af"]).contains("mine"));
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn events_are_told_as_they_come_and_afterwards() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    let format = "{{.Type}} {{.Action}}";
    let mut listening = daemon
        .docker(&["events", "--filter", "type=container", "--format", format])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    daemon.ok(&args(&["--name", "short", "busybox", "true"]));
    let mut lines = BufReader::new(listening.stdout.take().unwrap()).lines();
    let told: Vec<String> =
        lines.by_ref().map(|line| line.unwrap()).take_while(|line| line != "container destroy").collect();
    listening.kill().unwrap();
    listening.wait().unwrap();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told, ["container create", "container attach", "container start", "container die"]);
    // The docker command asks for whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let past = daemon.ok(&[
        "events",
        "--since",
        "10m",
        "--until",
        "0s",
        "--filter",
        "event=pull",
        "--format",
        format,
    ]);
    assert_eq!(past, "image pull");
}

#[test]
fn output_comes_after_the_head_was_read() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    daemon.ok(&["pull", "-q", "busybox"]);
    daemon.ok(&["run", "-d", "--name", "quick", "--network", "none", "busybox", "sleep", "300"]);
    let ask = |path: &str, header: &str, body: &str| {
        let mut stream = UnixStream::connect(&daemon.socket).unwrap();
        let (kind, length) = ("Content-Type: application/json", body.len());
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: d\r\n{kind}\r\nContent-Length: {length}\r\n{header}");
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        stream
    };
    let made = r#"{"Cmd":["echo","said"],"AttachStdout":true}"#;
    let mut stream = ask("/containers/quick/exec", "Connection: close", made);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let id = answer.split("\"Id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp";
    let mut stream = ask(&format!("/exec/{id}/start"), upgrade, r#"{"Detach":false}"#);
    // The process is long over then.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let mut head = [0; 4096];
    let count = stream.read(&mut head).unwrap();
    assert!(head[..count].ends_with(b"\r\n\r\n"), "{}", text(&head[..count]));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(text(&rest).contains("said"), "{}", text(&rest));
    daemon.ok(&["rm", "-f", "quick"]);
}
