//! Containers in which a client works while its build goes on.

use std::collections::{BTreeMap, BTreeSet};

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::pb;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::client::{Daemon, Files, Messages, OfBuild, Session, solve, text};
use super::{context, program};

type Bridge = LlbBridgeClient<InterceptedService<Channel, OfBuild>>;

/// A build that its client solves, and a result of it: the image of the program.
struct Build {
    daemon: Daemon,
    bridge: Bridge,
    result: String,
    done: JoinHandle<Result<tonic::Response<wire::SolveResponse>, Status>>,
    _session: Session,
}

async fn begin() -> Build {
    let daemon = Daemon::start().await;
    program::make(&daemon, "").await;
    let dir = context(&format!("FROM {}\nWORKDIR /work\n", program::IMAGE));
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path())]);
    let session = daemon.session("s", "", files).await;
    let request = wire::SolveRequest { frontend: String::new(), ..solve("r", "s", &[], Vec::new()) };
    let mut control = daemon.control().await;
    let done = tokio::spawn(async move { control.solve(request).await });
    let mut bridge = daemon.bridge("r").await;
    let solved = frontend::SolveRequest { frontend: "dockerfile.v0".to_owned(), ..Default::default() };
    let result = bridge.solve(solved).await.unwrap().into_inner().result.unwrap().result;
    let Some(frontend::result::Result::Ref(result)) = result else { panic!("no ref") };
    Build { daemon, bridge, result: result.id, done, _session: session }
}

impl Build {
    /// A container named `id` over the result.
    async fn container(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut frontend::NewContainerRequest),
    ) -> Result<(), Status> {
        let root = pb::Mount { dest: "/".to_owned(), result_id: self.result.clone(), ..Default::default() };
        let mut request = frontend::NewContainerRequest {
            container_id: id.to_owned(),
            mounts: vec![root],
            network: pb::NetMode::None.into(),
            ..Default::default()
        };
        change(&mut request);
        self.bridge.new_container(request).await.map(drop)
    }

    async fn release(&mut self, id: &str) -> Result<(), Status> {
        let request = frontend::ReleaseContainerRequest { container_id: id.to_owned() };
        self.bridge.release_container(request).await.map(drop)
    }

    async fn talk(&mut self) -> Talk {
        let (sender, receiver) = mpsc::channel(8);
        let answers = self.bridge.exec_process(Messages(receiver)).await.unwrap().into_inner();
        Talk { sender, answers, started: BTreeSet::new() }
    }

    /// Ends the build.
    async fn finish(mut self) {
        let result = Some(frontend::Result::default());
        self.bridge.r#return(frontend::ReturnRequest { result, error: None }).await.unwrap();
        self.done.await.unwrap().unwrap();
    }
}

/// One stream of processes.
struct Talk {
    sender: mpsc::Sender<frontend::ExecMessage>,
    answers: Streaming<frontend::ExecMessage>,
    started: BTreeSet<String>,
}

/// What came of one process.
#[derive(Debug, Default)]
struct Heard {
    started: bool,
    output: BTreeMap<u32, String>,
    closed: Vec<u32>,
    exit: Option<(u32, String)>,
}

impl Talk {
    async fn say(&self, id: &str, input: Input) {
        let message = frontend::ExecMessage { process_id: id.to_owned(), input: Some(input) };
        self.sender.send(message).await.unwrap();
    }

    async fn start(
        &self,
        id: &str,
        container: &str,
        words: &[&str],
        change: impl FnOnce(&mut frontend::InitMessage),
    ) {
        let args = std::iter::once("/program").chain(words.iter().copied()).map(str::to_owned).collect();
        let mut init = frontend::InitMessage {
            container_id: container.to_owned(),
            meta: Some(pb::Meta { args, cwd: "/".to_owned(), ..Default::default() }),
            fds: vec![1, 2],
            ..Default::default()
        };
        change(&mut init);
        self.say(id, Input::Init(init)).await;
    }

    async fn input(&self, id: &str, text: &str, eof: bool) {
        let data = text.as_bytes().to_vec();
        self.say(id, Input::File(frontend::FdMessage { fd: 0, eof, data })).await;
    }

    /// Hears the process `id` until it is over, or says `until`.
    async fn hear(&mut self, id: &str, until: Option<&str>) -> Heard {
        let mut heard = Heard { started: self.started.contains(id), ..Heard::default() };
        while let Some(message) = self.answers.message().await.unwrap() {
            if message.process_id != id {
                continue;
            }
            match message.input.unwrap() {
                Input::Started(_) => {
                    heard.started = true;
                    self.started.insert(id.to_owned());
                }
                Input::File(file) if file.eof => heard.closed.push(file.fd),
                Input::File(file) => {
                    assert!(heard.started, "what is said comes after the start");
                    heard.output.entry(file.fd).or_default().push_str(&text(&file.data));
                }
                Input::Exit(exit) => {
                    heard.exit = Some((exit.code, exit.error.unwrap_or_default().message));
                }
                Input::Done(_) => return heard,
                other => panic!("{other:?}"),
            }
            if until.is_some_and(|until| heard.output.values().any(|said| said.contains(until))) {
                return heard;
            }
        }
        panic!("the stream ended: {heard:?}");
    }

    /// Runs one to its end.
    async fn run(&mut self, id: &str, container: &str, words: &[&str]) -> Heard {
        self.start(id, container, words, |_| ()).await;
        self.hear(id, None).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_run_in_a_container_of_a_result() {
    let mut build = begin().await;
    let prepare = |request: &mut frontend::NewContainerRequest| {
        request.hostname = "box".to_owned();
        request.extra_hosts = vec![pb::HostIp { host: "other".to_owned(), ip: "10.1.2.3".to_owned() }];
        let tmpfs = pb::MountType::Tmpfs.into();
        request.mounts.push(pb::Mount {
            dest: "/memory".to_owned(),
            mount_type: tmpfs,
            ..Default::default()
        });
    };
    build.container("c", prepare).await.unwrap();
    assert_eq!(build.container("c", |_| ()).await.unwrap_err().code(), Code::AlreadyExists);
    let mut talk = build.talk().await;
    // The first is the container's own; its input stays open.
    talk.start("first", "c", &["cat"], |init| init.fds = vec![0, 1, 2]).await;
    talk.input("first", "hello\n", false).await;
    assert!(talk.hear("first", Some("hello")).await.started);
    let show = |init: &mut frontend::InitMessage| {
        let meta = init.meta.as_mut().unwrap();
        meta.env = vec!["A=b".to_owned()];
        meta.user = "12:34".to_owned();
        meta.cwd = "/work".to_owned();
    };
    talk.start("show", "c", &["show"], show).await;
    let shown = talk.hear("show", None).await;
    assert_eq!((shown.exit, shown.closed), (Some((0, String::new())), vec![1, 2]));
    for line in ["user 12 34", "directory /work", "host box", "A=b", "10.1.2.3\tother", "network lo"] {
        assert!(shown.output[&1].lines().any(|said| said == line), "{line}: {}", shown.output[&1]);
    }
    assert!(!shown.output[&1].contains("network eth0") && shown.output[&1].contains("PATH="));
    assert_eq!(talk.run("bad", "c", &["complain", "oh"]).await.output[&2], "oh\n");
    assert_eq!(talk.run("code", "c", &["exit", "3"]).await.exit, Some((3, "exit code: 3".to_owned())));
    let none = |init: &mut frontend::InitMessage| init.meta.as_mut().unwrap().args = vec!["/none".to_owned()];
    talk.start("none", "c", &[], none).await;
    let none = talk.hear("none", None).await;
    assert!(
        none.started && none.exit.as_ref().is_some_and(|(code, why)| *code == 255 && why.contains("/none")),
        "{none:?}"
    );
    // They see each other's files, and nobody else does.
    assert_eq!(talk.run("w", "c", &["write", "/new", "here"]).await.exit, Some((0, String::new())));
    assert_eq!(talk.run("r", "c", &["read", "/new"]).await.output[&1], "here");
    let file = frontend::ReadFileRequest {
        r#ref: build.result.clone(),
        file_path: "/new".to_owned(),
        ..Default::default()
    };
    assert!(build.bridge.read_file(file).await.is_err());
    talk.input("first", "", true).await;
    assert_eq!(talk.hear("first", None).await.exit, Some((0, String::new())));
    let late = talk.run("late", "c", &["say", "x"]).await;
    assert!(late.exit.as_ref().is_some_and(|(code, _)| *code == 255), "it ended with its first: {late:?}");
    build.release("c").await.unwrap();
    assert_eq!(build.release("c").await.unwrap_err().code(), Code::NotFound);
    talk.start("gone", "c", &["say", "x"], |_| ()).await;
    assert_eq!(talk.answers.message().await.unwrap_err().code(), Code::NotFound);
    build.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_a_size_and_signals_arrive() {
    let mut build = begin().await;
    build.container("c", |_| ()).await.unwrap();
    let mut talk = build.talk().await;
    let tty = |init: &mut frontend::InitMessage| (init.tty, init.fds) = (true, vec![0, 1]);
    talk.start("p", "c", &["terminal"], tty).await;
    talk.hear("p", Some("terminal true")).await;
    talk.say("p", Input::Resize(frontend::ResizeMessage { rows: 33, cols: 77 })).await;
    talk.input("p", "now\n", false).await;
    // Where it was resized a moment later, it is asked again.
    let heard = talk.hear("p", Some("33x77")).await;
    assert!(heard.output[&1].contains("33x77"));
    talk.say("p", Input::Signal(frontend::SignalMessage { name: "KILL".to_owned() })).await;
    let mut process = Heard { started: true, ..Heard::default() };
    while process.exit.is_none() {
        let message = talk.answers.message().await.unwrap().unwrap();
        if let Some(Input::Exit(exit)) = message.input {
            process.exit = Some((exit.code, exit.error.unwrap().message));
        }
    }
    assert_eq!(process.exit.unwrap().0, 137);
    talk.say("p", Input::Signal(frontend::SignalMessage { name: "NONE".to_owned() })).await;
    while let Ok(Some(_)) = talk.answers.message().await {}
    build.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_granted_is_refused() {
    let mut build = begin().await;
    let host = |request: &mut frontend::NewContainerRequest| request.network = pb::NetMode::Host.into();
    let refused = build.container("c", host).await.unwrap_err();
    assert!(refused.message().contains("network.host"), "{refused:?}");
    let strange = |request: &mut frontend::NewContainerRequest| request.network = 99;
    assert!(build.container("c", strange).await.unwrap_err().message().contains("99"));
    let unknown =
        |request: &mut frontend::NewContainerRequest| request.mounts[0].result_id = "none".to_owned();
    assert_eq!(build.container("c", unknown).await.unwrap_err().code(), Code::NotFound);
    assert!(build.container("c", |request| request.mounts.clear()).await.is_err());
    build.container("c", |_| ()).await.unwrap();
    let mut talk = build.talk().await;
    talk.start("p", "c", &["show"], |init| init.security = pb::SecurityMode::Insecure.into()).await;
    let heard = talk.hear("p", None).await;
    assert!(heard.exit.is_some_and(|(code, why)| code == 255 && why.contains("security.insecure")));
    build.finish().await;
}

/// Whether a process with this word in its command runs on this machine.
fn runs(word: &str) -> bool {
    let commands = std::fs::read_dir("/proc").unwrap().flatten();
    let mut commands = commands.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    commands.any(|command| command.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_container_outlives_its_build() {
    let mut build = begin().await;
    let word = format!("outlives-{}", std::process::id());
    for id in ["c", "d"] {
        build.container(id, |_| ()).await.unwrap();
        let mut talk = build.talk().await;
        talk.start("p", id, &["sleep", &format!("{word}-{id}")], |_| ()).await;
        let started = talk.answers.message().await.unwrap().unwrap();
        assert!(matches!(started.input, Some(Input::Started(_))));
        assert!(runs(&format!("{word}-{id}")));
        if id == "c" {
            // A client that hears nothing any more has no use for it.
            drop(talk);
            while runs(&format!("{word}-{id}")) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        } else {
            // This one is there until the build ends.
            let result = Some(frontend::Result::default());
            build.bridge.r#return(frontend::ReturnRequest { result, error: None }).await.unwrap();
            while let Ok(Some(_)) = talk.answers.message().await {}
        }
    }
    build.done.await.unwrap().unwrap();
    assert!(!runs(&format!("{word}-d")));
    let root = build.daemon.engine.config().root.join("snapshots");
    let active = || {
        let names = std::fs::read_dir(&root).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("build-")).count()
    };
    assert_eq!(active(), 0);
}
