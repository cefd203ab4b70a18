//! The life of containers, on a root of its own with busybox as image: real processes, real network.
#![allow(clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use kiln_engine::attach::{Attach, AttachOptions, Stream};
use kiln_engine::containers::{
    ContainerOptions, ListOptions, MountKind, MountRequest, NetworkMode, PortRequest, Protocol,
    RemoveOptions, RestartPolicy, Standby, Status,
};
use kiln_engine::errand::Errand;
use kiln_engine::exec::ExecOptions;
use kiln_engine::images::ImportOptions;
use kiln_engine::logs::LogOptions;
use kiln_engine::{Config, Engine, ErrorKind};

type Test = (&'static str, fn(&Engine));

const TESTS: [Test; 13] = [
    ("a_supervisor_waits_for_its_container", a_supervisor_waits_for_its_container),
    ("output_and_exit_code", output_and_exit_code),
    ("input_reaches_the_program", input_reaches_the_program),
    ("a_terminal_is_one_stream", a_terminal_is_one_stream),
    ("a_program_that_is_not_there", a_program_that_is_not_there),
    ("a_container_outlives_its_creator", a_container_outlives_its_creator),
    ("a_published_port_answers", a_published_port_answers),
    ("a_volume_is_filled_and_kept", a_volume_is_filled_and_kept),
    ("processes_are_added_and_listed", processes_are_added_and_listed),
    ("a_failure_starts_again", a_failure_starts_again),
    ("what_ended_starts_again_at_once", what_ended_starts_again_at_once),
    ("a_dead_supervisor_is_noticed", a_dead_supervisor_is_noticed),
    ("what_removes_itself_leaves_nothing", what_removes_itself_leaves_nothing),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    // The engine executes this program again, for a container's supervisor and for the sync behind a command.
    if let Some(errand) = Errand::of_this_process() {
        let code = errand.run().unwrap_or(125);
        return ExitCode::from(u8::try_from(code).unwrap_or(125));
    }
    if args.iter().any(|arg| arg == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filter = args.iter().skip(1).find(|arg| !arg.starts_with('-')).cloned().unwrap_or_default();
    run_all(&filter)
}

fn run_all(filter: &str) -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(Config::new(directory.path().join("root"))).unwrap();
    import_busybox(&engine, directory.path());
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(filter)) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&engine)));
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(result.is_err());
    }
    engine.reset().unwrap();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn import_busybox(engine: &Engine, directory: &Path) {
    let script = "mkdir -p $0/bin $0/etc $0/data $0/tmp && cp $(command -v busybox) $0/bin/busybox && \
                  for tool in sh cat echo sleep true ls nc httpd id; do ln -s busybox $0/bin/$tool; done && \
                  echo filled > $0/data/file && tar -C $0 -cf $0.tar .";
    let tree = directory.join("tree");
    assert!(Command::new("sh").arg("-ec").arg(script).arg(&tree).status().unwrap().success());
    let tar = std::fs::File::open(directory.join("tree.tar")).unwrap();
    let options = ImportOptions { name: Some("busybox".into()), ..ImportOptions::default() };
    engine.images().import(tar, &options).unwrap();
}

fn shell(script: &str) -> ContainerOptions {
    ContainerOptions {
        image: "busybox".into(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        network: NetworkMode::None,
        ..ContainerOptions::default()
    }
}

const WATCH: AttachOptions = AttachOptions { stdin: false, output: true, logs: false, size: None };

/// Everything that was written, by stream, and the exit code.
fn collect(mut attach: Attach) -> (String, String, i32) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(chunk) = attach.output.next().unwrap() {
        match chunk.stream {
            Stream::Stdout => out.extend(chunk.bytes),
            Stream::Stderr => err.extend(chunk.bytes),
        }
    }
    let code = attach.exit.wait().unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}

fn run(engine: &Engine, options: &ContainerOptions) -> (String, (String, String, i32)) {
    let id = engine.containers().create(options).unwrap();
    let attach = engine.containers().start(&id, Some(&WATCH)).unwrap().unwrap();
    (id, collect(attach))
}

fn remove(engine: &Engine, id: &str) {
    engine.containers().remove(id, RemoveOptions { force: true, volumes: true }).unwrap();
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Its last supervisor may still be tidying up when the next one starts.
fn what_ended_starts_again_at_once(engine: &Engine) {
    let id = engine.containers().create(&shell("exit 3")).unwrap();
    for _ in 0..20 {
        let attach = engine.containers().start(&id, Some(&WATCH)).unwrap().unwrap();
        assert_eq!(collect(attach).2, 3);
    }
    engine.containers().remove(&id, RemoveOptions::default()).unwrap();
}

fn output_and_exit_code(engine: &Engine) {
    let (id, seen) = run(engine, &shell("echo out; echo err >&2; exit 3"));
    assert_eq!(seen, ("out\n".into(), "err\n".into(), 3));
    let container = engine.containers().inspect(&id[..12]).unwrap();
    assert_eq!((container.state.status, container.state.exit_code), (Status::Exited, 3));
    let entries = engine.containers().logs(&id, &LogOptions::default()).unwrap();
    let mut lines: Vec<Vec<u8>> = entries.map(|entry| entry.unwrap().bytes).collect();
    lines.sort();
    assert_eq!(lines, [b"err\n", b"out\n"]);
    assert_eq!(engine.containers().wait(&id).unwrap(), 3);
    remove(engine, &id);
    assert_eq!(engine.containers().inspect(&id).unwrap_err().kind, ErrorKind::NotFound);
}

fn a_supervisor_waits_for_its_container(engine: &Engine) {
    let root = &engine.config().root;
    let standby = Standby::start(root).unwrap();
    engine.containers().create_for(&standby, &shell("echo out")).unwrap();
    let id = standby.id().to_owned();
    let attach = engine.containers().start_on(standby, Some(&WATCH)).unwrap().unwrap();
    assert_eq!(collect(attach), ("out\n".into(), String::new(), 0));
    remove(engine, &id);
    // One that nobody needs ends, and was never a container.
    let unused = Standby::start(root).unwrap();
    let id = unused.id().to_owned();
    eventually("the start of the supervisor", || is_running(&id));
    drop(unused);
    eventually("the end of the supervisor", || !is_running(&id));
    assert_eq!(engine.containers().inspect(&id).unwrap_err().kind, ErrorKind::NotFound);
}

/// Whether a process has `word` among its arguments.
fn is_running(word: &str) -> bool {
    let arguments =
        |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let has = |bytes: Vec<u8>| bytes.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes());
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| has(arguments(entry)))
}

fn input_reaches_the_program(engine: &Engine) {
    let options = ContainerOptions { open_stdin: true, ..shell("cat; echo end") };
    let id = engine.containers().create(&options).unwrap();
    let attach =
        engine.containers().start(&id, Some(&AttachOptions { stdin: true, ..WATCH })).unwrap().unwrap();
    let text = "x".repeat(300_000);
    attach.input.write(text.as_bytes()).unwrap();
    attach.input.close().unwrap();
    let (out, _, code) = collect(attach);
    assert_eq!((out.len(), code), (300_004, 0));
    remove(engine, &id);
}

fn a_terminal_is_one_stream(engine: &Engine) {
    let options = ContainerOptions { tty: true, ..shell("echo out; echo err >&2") };
    let (id, (out, err, code)) = run(engine, &options);
    assert_eq!((out.as_str(), err.as_str(), code), ("out\r\nerr\r\n", "", 0));
    remove(engine, &id);
}

fn a_program_that_is_not_there(engine: &Engine) {
    let options =
        ContainerOptions { command: vec!["/nothing".into()], name: Some("no-program".into()), ..shell("") };
    let id = engine.containers().create(&options).unwrap();
    assert_eq!(engine.containers().start(&id, None).unwrap_err().kind, ErrorKind::CommandNotFound);
    let container = engine.containers().inspect("no-program").unwrap();
    assert_eq!((container.state.status, container.state.exit_code), (Status::Created, 127));
    assert_eq!(engine.containers().create(&options).unwrap_err().kind, ErrorKind::Conflict);
    remove(engine, &id);
}

fn a_container_outlives_its_creator(engine: &Engine) {
    let id = engine
        .containers()
        .create(&shell("trap 'echo bye; exit 7' TERM; while :; do sleep 0.01; done"))
        .unwrap();
    engine.containers().start(&id, None).unwrap();
    assert_eq!(engine.containers().list(&ListOptions::default()).unwrap()[0].id, id);
    engine.containers().rename(&id, "renamed").unwrap();
    engine.containers().pause("renamed").unwrap();
    assert_eq!(engine.containers().inspect(&id).unwrap().state.status, Status::Paused);
    engine.containers().unpause("renamed").unwrap();
    engine.containers().stop("renamed", None, None).unwrap();
    assert_eq!(engine.containers().inspect(&id).unwrap().state.exit_code, 7);
    let stubborn = engine.containers().create(&shell("trap '' TERM; while :; do sleep 0.01; done")).unwrap();
    engine.containers().start(&stubborn, None).unwrap();
    engine.containers().stop(&stubborn, None, Some(Duration::from_millis(50))).unwrap();
    assert_eq!(engine.containers().wait(&stubborn).unwrap(), 137);
    remove(engine, &id);
    remove(engine, &stubborn);
}

fn a_published_port_answers(engine: &Engine) {
    let port = PortRequest { host_ip: None, host_port: None, container_port: 80, protocol: Protocol::Tcp };
    let options = ContainerOptions {
        network: NetworkMode::Bridge,
        ports: vec![port],
        ..shell("exec httpd -f -p 80 -h /data")
    };
    let id = engine.containers().create(&options).unwrap();
    engine.containers().start(&id, None).unwrap();
    let published = engine.containers().inspect(&id).unwrap().ports[0].clone();
    let mut answer = String::new();
    eventually("an answer", || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", published.host_port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).is_ok_and(|count| count > 0)
    });
    assert!(answer.ends_with("filled\n"), "{answer}");
    let mut second = options;
    second.ports[0].host_port = Some(published.host_port);
    let other = engine.containers().create(&second).unwrap();
    assert_eq!(engine.containers().start(&other, None).unwrap_err().kind, ErrorKind::Conflict);
    engine.containers().kill(&id, "KILL").unwrap();
    engine.containers().start(&other, None).unwrap();
    remove(engine, &id);
    remove(engine, &other);
}

fn a_volume_is_filled_and_kept(engine: &Engine) {
    let kind = MountKind::Volume { name: Some("kept".into()) };
    let mount = MountRequest { kind, target: "/data".into(), readonly: false };
    let with_volume = |script: &str| ContainerOptions { mounts: vec![mount.clone()], ..shell(script) };
    let (first, _) = run(engine, &with_volume("echo more > /data/more"));
    let (second, (out, _, _)) = run(engine, &with_volume("cat /data/file /data/more"));
    assert_eq!(out, "filled\nmore\n");
    assert_eq!(engine.volumes().remove("kept", false).unwrap_err().kind, ErrorKind::Conflict);
    remove(engine, &first);
    remove(engine, &second);
    engine.volumes().remove("kept", false).unwrap();
}

fn processes_are_added_and_listed(engine: &Engine) {
    let id = engine
        .containers()
        .create(&ContainerOptions { env: vec!["A=1".into()], ..shell("sleep 100") })
        .unwrap();
    engine.containers().start(&id, None).unwrap();
    let options = |script: &str| ExecOptions {
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        ..ExecOptions::default()
    };
    let attach = engine.containers().exec(&id, &options("echo $A; exit 9")).unwrap().unwrap();
    assert_eq!(collect(attach), ("1\n".into(), String::new(), 9));
    let detached = ExecOptions { detach: true, ..options("exec sleep 99") };
    assert!(engine.containers().exec(&id, &detached).unwrap().is_none());
    eventually("the detached process", || {
        let table = engine.containers().top(&id).unwrap();
        table.rows.iter().any(|row| row[7] == "sleep 99")
    });
    let missing = ExecOptions { command: vec!["/nothing".into()], ..ExecOptions::default() };
    assert_eq!(engine.containers().exec(&id, &missing).unwrap_err().kind, ErrorKind::CommandNotFound);
    remove(engine, &id);
}

fn a_failure_starts_again(engine: &Engine) {
    let options =
        ContainerOptions { restart: RestartPolicy::OnFailure { max: 2 }, ..shell("echo run; exit 5") };
    let id = engine.containers().create(&options).unwrap();
    engine.containers().start(&id, None).unwrap();
    eventually("the end", || engine.containers().inspect(&id).unwrap().state.status == Status::Exited);
    assert_eq!(engine.containers().logs(&id, &LogOptions::default()).unwrap().count(), 3);
    assert_eq!(engine.containers().inspect(&id).unwrap().state.restart_count, 2);
    remove(engine, &id);
    let for_ever = ContainerOptions { restart: RestartPolicy::Always, ..shell("exit 1") };
    let id = engine.containers().create(&for_ever).unwrap();
    engine.containers().start(&id, None).unwrap();
    eventually("a pause", || engine.containers().inspect(&id).unwrap().state.status == Status::Restarting);
    engine.containers().stop(&id, None, None).unwrap();
    assert_eq!(engine.containers().inspect(&id).unwrap().state.status, Status::Exited);
    remove(engine, &id);
}

fn a_dead_supervisor_is_noticed(engine: &Engine) {
    let id = engine.containers().create(&shell("sleep 1000")).unwrap();
    engine.containers().start(&id, None).unwrap();
    let supervisor = engine.containers().inspect(&id).unwrap().state.supervisor_pid.unwrap();
    assert!(Command::new("kill").args(["-KILL", &supervisor.to_string()]).status().unwrap().success());
    eventually("the end", || engine.containers().inspect(&id).unwrap().state.status == Status::Exited);
    assert_eq!(engine.containers().wait(&id).unwrap(), 137);
    engine.containers().start(&id, None).unwrap();
    assert_eq!(engine.containers().inspect(&id).unwrap().state.status, Status::Running);
    remove(engine, &id);
}

fn what_removes_itself_leaves_nothing(engine: &Engine) {
    let mount =
        MountRequest { kind: MountKind::Volume { name: None }, target: "/data".into(), readonly: false };
    let options = ContainerOptions { auto_remove: true, mounts: vec![mount], ..shell("exit 4") };
    let (id, (_, _, code)) = run(engine, &options);
    assert_eq!(code, 4);
    assert_eq!(engine.containers().inspect(&id).unwrap_err().kind, ErrorKind::NotFound);
    let directory = engine.config().root.join("containers").join(&id);
    eventually("an empty root", || !directory.exists() && engine.volumes().list().unwrap().is_empty());
}
