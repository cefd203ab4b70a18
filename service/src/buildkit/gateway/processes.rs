//! `ExecProcess`: the processes of a client's containers, all on one stream, each with a name.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input;
use futures_util::{Stream, stream};
use kiln_engine::attach::{Attach, AttachInput, AttachOutput, Stream as Output};
use kiln_engine::build::{BuildContainer, BuildProcess, SecretVariable};
use kiln_engine::{Error, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::super::errors;
use super::super::llb::exec::security_of;
use super::Caller;

/// What a client hears.
pub(super) type Answers = Pin<Box<dyn Stream<Item = std::result::Result<wire::ExecMessage, Status>> + Send>>;

/// Messages that wait in each direction.
const DEPTH: usize = 16;
/// The most processes of one stream.
const MAX_PROCESSES: usize = 64;
/// How long the rest of a process's output may take when it has ended.
const DRAIN: Duration = Duration::from_secs(5);
/// The exit code of what never ran.
const UNKNOWN: u32 = 255;
/// Descriptors, as the wire counts them.
const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
/// The stack of a thread that moves bytes.
const STACK: usize = 256 << 10;

type Sender = mpsc::Sender<std::result::Result<wire::ExecMessage, Status>>;

/// Serves a stream until its client has gone, the build is over, or the client has said all and its processes have ended.
pub(super) fn serve(caller: Caller, messages: Streaming<wire::ExecMessage>) -> Answers {
    let (sender, receiver) = mpsc::channel(DEPTH);
    tokio::spawn(async move {
        let cancel = caller.work.job.cancel.clone();
        let mut processes =
            Processes { caller, sender: sender.clone(), live: HashMap::new(), tasks: JoinSet::new() };
        tokio::select! {
            served = processes.serve(messages) => if let Err(status) = served {
                // Nobody listens where this fails.
                drop(sender.send(Err(status)).await);
            },
            () = sender.closed() => {}
            () = cancel.cancelled() => {}
        }
    });
    let next = |mut receiver: mpsc::Receiver<_>| async move { Some((receiver.recv().await?, receiver)) };
    Box::pin(stream::unfold(receiver, next))
}

/// The processes of one stream; what still runs is killed when this is dropped.
struct Processes {
    caller: Caller,
    sender: Sender,
    live: HashMap<String, Live>,
    /// Each gives the name of its process when that has ended.
    tasks: JoinSet<String>,
}

/// A process that was started.
struct Live {
    input: Arc<dyn AttachInput>,
    /// Where input goes; none at its end.
    stdin: Option<mpsc::Sender<Vec<u8>>>,
}

impl Drop for Live {
    fn drop(&mut self) {
        // One that has ended is what is wanted.
        let _ = self.input.signal("KILL");
    }
}

impl Processes {
    async fn serve(&mut self, mut messages: Streaming<wire::ExecMessage>) -> std::result::Result<(), Status> {
        while let Some(message) = messages.message().await? {
            self.take(message).await?;
        }
        self.live.values_mut().for_each(|live| live.stdin = None);
        // The end of each was told.
        while self.tasks.join_next().await.is_some() {}
        Ok(())
    }

    async fn take(&mut self, message: wire::ExecMessage) -> std::result::Result<(), Status> {
        let wire::ExecMessage { process_id: id, input } = message;
        if id.is_empty() {
            return Err(Status::invalid_argument("ProcessID required"));
        }
        let unknown = || Status::not_found(format!("IO for process {id:?} not found"));
        match input {
            Some(Input::Init(init)) => self.start(id, init).await,
            Some(Input::File(file)) => {
                let live = self.live.get_mut(&id).ok_or_else(unknown)?;
                live.feed(file).await
            }
            Some(Input::Resize(size)) => {
                let live = self.live.get(&id).ok_or_else(unknown)?;
                let of = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
                // A process that ends at this moment has no use for a size.
                let _ = live.input.resize(of(size.rows), of(size.cols));
                Ok(())
            }
            Some(Input::Signal(signal)) => {
                let live = self.live.get(&id).ok_or_else(unknown)?;
                let unknown = |error: Error| Status::invalid_argument(error.message);
                live.input.signal(&signal.name).map_err(unknown)
            }
            // What only a server says.
            Some(Input::Started(_) | Input::Exit(_) | Input::Done(_)) | None => Ok(()),
        }
    }

    async fn start(&mut self, id: String, init: wire::InitMessage) -> std::result::Result<(), Status> {
        while let Some(ended) = self.tasks.try_join_next() {
            self.live.remove(&ended.unwrap_or_default());
        }
        if self.live.contains_key(&id) {
            return Err(Status::already_exists(format!("Process {} already exists", id.escape_debug())));
        }
        if self.live.len() >= MAX_PROCESSES {
            return Err(Status::resource_exhausted(format!("more than {MAX_PROCESSES} processes")));
        }
        let container = self.caller.gateway.container(&init.container_id)?;
        let fds = init.fds.clone();
        let process = process(init).map_err(|error| errors::status(&error))?;
        let teller = Teller { id: id.clone(), sender: self.sender.clone() };
        let attach = match started(container, process).await {
            Ok(attach) => attach,
            Err(error) => {
                teller.tell(Input::Started(wire::StartedMessage {})).await;
                teller.tell(exit(UNKNOWN, Some(errors::status(&error)))).await;
                teller.tell(Input::Done(wire::DoneMessage {})).await;
                return Ok(());
            }
        };
        teller.tell(Input::Started(wire::StartedMessage {})).await;
        let told = |error: Error| errors::status(&error);
        let Attach { input, output, mut exit } = attach;
        let mut live = Live { input: input.clone(), stdin: None };
        if fds.contains(&STDIN) {
            let (stdin, pieces) = mpsc::channel(DEPTH);
            thread("exec-in", move || feed(pieces, input.as_ref())).map_err(told)?;
            live.stdin = Some(stdin);
        }
        let (teller_of_output, (drained, output_ended)) = (teller.clone(), oneshot::channel());
        thread("exec-out", move || {
            teller_of_output.pass_on(output, &fds);
            // Nobody waits for it where this fails.
            let _ = drained.send(());
        })
        .map_err(told)?;
        let (code, ended) = oneshot::channel();
        thread("exec-end", move || {
            let waited = exit.wait();
            // The container is let go of before anybody hears of the end.
            drop(exit);
            let _ = code.send(waited);
        })
        .map_err(told)?;
        self.live.insert(id, live);
        self.tasks.spawn(async move {
            teller.end(ended, output_ended).await;
            teller.id
        });
        Ok(())
    }
}

/// Blocks for as long as a container takes to start.
async fn started(container: Arc<BuildContainer>, process: BuildProcess) -> Result<Attach> {
    let started = tokio::task::spawn_blocking(move || container.start(&process)).await;
    started.map_err(|error| Error::internal("start a process", error))?
}

fn process(init: wire::InitMessage) -> Result<BuildProcess> {
    let wire::InitMessage { meta, fds, tty, security, secretenv, .. } = init;
    let meta = meta.unwrap_or_default();
    let secret = |secret: bollard_buildkit_proto::pb::SecretEnv| SecretVariable {
        name: secret.name,
        id: secret.id,
        required: !secret.optional,
    };
    Ok(BuildProcess {
        args: meta.args,
        env: meta.env,
        secrets: secretenv.into_iter().map(secret).collect(),
        user: meta.user,
        cwd: meta.cwd,
        tty,
        stdin: fds.contains(&STDIN),
        insecure: security_of(security)? == kiln_graph::Security::Insecure,
    })
}

impl Live {
    async fn feed(&mut self, file: wire::FdMessage) -> std::result::Result<(), Status> {
        let wire::FdMessage { fd, eof, data } = file;
        let unavailable = || Status::out_of_range(format!("fd {fd} unavailable to write"));
        let stdin = self.stdin.as_ref().filter(|_| fd == STDIN).ok_or_else(unavailable)?;
        if !data.is_empty() {
            // A process that has ended reads no more.
            drop(stdin.send(data).await);
        }
        if eof {
            self.stdin = None;
        }
        Ok(())
    }
}

/// Gives a process its input, until its end.
fn feed(mut pieces: mpsc::Receiver<Vec<u8>>, input: &dyn AttachInput) {
    while let Some(piece) = pieces.blocking_recv() {
        if input.write(&piece).is_err() {
            return;
        }
    }
    // One that has ended has nothing to close.
    let _ = input.close();
}

/// Tells a client of one process.
#[derive(Clone)]
struct Teller {
    id: String,
    sender: Sender,
}

impl Teller {
    fn message(&self, input: Input) -> wire::ExecMessage {
        wire::ExecMessage { process_id: self.id.clone(), input: Some(input) }
    }

    async fn tell(&self, input: Input) {
        // The process is killed when its client has gone.
        drop(self.sender.send(Ok(self.message(input))).await);
    }

    /// Passes output on until its end, as far as the client has descriptors for it. Blocking.
    fn pass_on(&self, mut output: Box<dyn AttachOutput>, fds: &[u32]) {
        let tell = |fd: u32, data: Vec<u8>, eof: bool| {
            let message = self.message(Input::File(wire::FdMessage { fd, eof, data }));
            !fds.contains(&fd) || self.sender.blocking_send(Ok(message)).is_ok()
        };
        while let Ok(Some(chunk)) = output.next() {
            let fd = if chunk.stream == Output::Stdout { STDOUT } else { STDERR };
            if !tell(fd, chunk.bytes, false) {
                return;
            }
        }
        let _ = tell(STDOUT, Vec::new(), true) && tell(STDERR, Vec::new(), true);
    }

    /// Tells how it ended, then that there is nothing more to hear.
    async fn end(&self, ended: oneshot::Receiver<Result<i32>>, drained: oneshot::Receiver<()>) {
        let told = match ended.await {
            Ok(Ok(0)) => exit(0, None),
            Ok(Ok(code)) => {
                let error = Status::unknown(format!("exit code: {code}"));
                exit(u32::try_from(code).unwrap_or(UNKNOWN), Some(error))
            }
            Ok(Err(error)) => exit(UNKNOWN, Some(errors::status(&error))),
            Err(_) => exit(UNKNOWN, Some(Status::internal("nobody waited for the process"))),
        };
        self.tell(told).await;
        // What it left behind may hold its output open.
        drop(timeout(DRAIN, drained).await);
        self.tell(Input::Done(wire::DoneMessage {})).await;
    }
}

fn exit(code: u32, error: Option<Status>) -> Input {
    let error = error.map(|status| rpc::Status {
        code: i32::from(match status.code() {
            Code::Ok => Code::Unknown,
            code => code,
        }),
        message: status.message().to_owned(),
        details: Vec::new(),
    });
    Input::Exit(wire::ExitMessage { code, error })
}

/// Runs what takes as long as a process lives on a thread of its own.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    builder.spawn(work).map(drop).map_err(|error| Error::internal("start a thread", error))
}
