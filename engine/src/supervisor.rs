//! The small process that is a container's parent: terminal, log, exit, restart.
//!
//! It is kiln executed again, with a socket to its creator as standard input. While it lives it holds the lock on the
//! container's directory and a lease on everything that must go when it goes. When it is killed, the kernel kills the
//! container; the next kiln that looks tidies up. It gets ready while its creator makes the container, and waits for the
//! creator's word.

mod clients;
pub(crate) mod frame;
mod probe;
mod pump;
mod restart;
pub(crate) mod spec;
mod streams;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_cache::{Lease, Resource};
use kiln_runtime::network::{Bridge, PortMapping, Reservation};
use kiln_runtime::{ExitStatus, NetworkSetup, Running};
use kiln_sys::fs::{FileLock, Root, try_lock_file};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::containers::files::lock as files_lock;
use crate::containers::{Health, NetworkMode, Record, Records, Status, lock_path, now};
use crate::logs::LogWriter;
use crate::networks::etc::{Facts, Texts};
use crate::networks::{self, Joined};
use crate::rootless::is_confined;
use crate::{Engine, Error, ErrorKind, Result, volumes};
use clients::Clients;
use frame::Frame;
use probe::Probe;
use pump::Pump;
use restart::Backoff;
use streams::Streams;

/// How long a container that ended waits for its last supervisor, and how often it looks.
const TIDYING: Duration = Duration::from_secs(10);
const TIDYING_STEP: Duration = Duration::from_millis(2);

/// The socket in a container's directory where others connect.
pub(crate) const SOCKET: &str = "attach.sock";

/// Runs one container until it ends for good, then gives the exit code of the supervisor itself.
pub(crate) fn supervise(config: Config, id: &str) -> Result<i32> {
    // A creator that made a session for us already is fine.
    let _ = kiln_sys::process::new_session();
    let creator =
        kiln_sys::fd::take_stdin().map_err(|error| Error::internal("take standard input", error))?;
    let creator = UnixStream::from(creator);
    match open_and_run(config, id, &creator) {
        Ok(()) => Ok(0),
        Err(error) => {
            tell_failure(&creator, &error);
            Err(error)
        }
    }
}

fn open_and_run(config: Config, id: &str, creator: &UnixStream) -> Result<()> {
    let engine = Engine::open(config)?;
    match Frame::read(creator) {
        Ok(Some(Frame::Begin)) => {}
        // There will be no container: its creator changed its mind, or failed and said why.
        _ => return Ok(()),
    }
    let mut clients = Clients::default();
    clients.add_creator(creator)?;
    let supervisor = Supervisor::prepare(&engine, id)?;
    supervisor.run(clients)
}

/// What the hidden command `kiln init -- PROGRAM ARG…` does: process 1 of a container made with `--init`.
pub fn init(command: &[OsString]) -> Result<i32> {
    let command: Vec<String> = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    Ok(kiln_runtime::init::main(&command))
}

/// An error on its way to the creator.
#[derive(Serialize, Deserialize)]
struct Failure {
    kind: usize,
    message: String,
    hint: Option<String>,
}

/// An error as the payload of [`Frame::Failed`].
fn failure(error: &Error) -> Frame {
    let kind = ErrorKind::ALL.iter().position(|kind| *kind == error.kind).unwrap_or_default();
    let failure = Failure { kind, message: error.chain(), hint: error.hint.clone() };
    Frame::Failed(serde_json::to_vec(&failure).unwrap_or_default())
}

/// The error that a supervisor reported.
pub(crate) fn read_failure(bytes: &[u8]) -> Error {
    match serde_json::from_slice::<Failure>(bytes) {
        Ok(failure) => {
            let kind = ErrorKind::ALL.get(failure.kind).copied().unwrap_or(ErrorKind::Internal);
            let mut error = Error::new(kind, failure.message);
            error.hint = failure.hint;
            error
        }
        Err(error) => Error::internal("read the supervisor's report", error),
    }
}

fn tell_failure(creator: &UnixStream, error: &Error) {
    use std::io::Write;
    let _ = creator.set_nonblocking(false);
    // Nobody to tell is nobody who asked.
    let _ = (&*creator).write_all(&failure(error).encode());
}

/// A container that is about to run, with all that it holds.
struct Supervisor<'a> {
    engine: &'a Engine,
    record: Record,
    directory: std::path::PathBuf,
    etc: kiln_runtime::EtcFiles,
    joined: Option<Joined>,
    reservation: Option<Reservation>,
    listener: UnixListener,
    log: LogWriter,
    _lock: FileLock,
    _lease: Lease,
}

impl<'a> Supervisor<'a> {
    /// Takes the lock, the network and the ports.
    fn prepare(engine: &'a Engine, id: &str) -> Result<Supervisor<'a>> {
        let store = engine.store();
        let directory = crate::containers::directory(store.root(), id);
        let lock = lock(engine, id, &directory)?;
        let record = Records::of(engine)
            .get(id)?
            .ok_or_else(|| Error::not_found(format!("no container `{id}` here")))?;
        let lease = store.leases.create()?;
        lease.hold(&Resource::Cgroup(format!("{}/{id}", record.cgroup_parent(engine))))?;
        let options = &record.container.options;
        let joined = match options.network {
            NetworkMode::Bridge if !is_confined() => Some(networks::join(store, &lease)?),
            NetworkMode::Bridge if !record.container.options.ports.is_empty() => return Err(no_ports()),
            _ => None,
        };
        let reservation = joined.as_ref().map(|joined| publish(joined, &record)).transpose()?;
        let facts = Facts {
            hostname: options.hostname.as_deref().unwrap_or_default(),
            addresses: joined.as_ref().map(|joined| (joined.address, joined.gateway)),
            is_host: joined.is_none() && options.network != NetworkMode::None,
            extra_hosts: &options.add_hosts,
            dns: None,
        };
        let etc = Texts::of(&facts).write(engine.store().root(), &directory)?;
        let listener = listen(&directory)?;
        let log = LogWriter::open(&directory)?;
        Ok(Supervisor {
            engine,
            record,
            directory,
            etc,
            joined,
            reservation,
            listener,
            log,
            _lock: lock,
            _lease: lease,
        })
    }

    /// Runs the program, again where the restart policy says so, until its last end is recorded and told.
    fn run(mut self, mut clients: Clients) -> Result<()> {
        let mut backoff = Backoff::default();
        let mut restarts = 0;
        loop {
            let started = Instant::now();
            let status = match self.run_once(&mut clients, restarts) {
                Ok(status) => status,
                Err(error) if restarts == 0 => return self.not_started(error),
                Err(error) => return self.finish(&mut clients, 125, false, &error.chain()),
            };
            let policy = self.record.container.options.restart;
            let stopped = Records::of(self.engine).get(&self.id())?.is_none_or(|record| record.stopped);
            if stopped || !restart::wanted(policy, status.code, restarts) {
                return self.finish(&mut clients, status.code, status.oom_killed, "");
            }
            restarts += 1;
            self.set_restarting(&status)?;
            clients.finish(status.code);
            if !self.pause(&mut clients, backoff.next(started.elapsed()))? {
                return self.finish(&mut clients, status.code, status.oom_killed, "");
            }
        }
    }

    fn id(&self) -> String {
        self.record.container.id.clone()
    }

    fn run_once(&mut self, clients: &mut Clients, restarts: u32) -> Result<ExitStatus> {
        let (streams, stdio) = Streams::of(&self.record.container.options)?;
        let network = match (&self.joined, &self.record.container.options.network) {
            (Some(joined), _) => NetworkSetup::Namespace(Arc::clone(&joined.ns)),
            (None, NetworkMode::None) => NetworkSetup::None,
            (None, _) => NetworkSetup::Host,
        };
        // Whoever copies files of a container that does not run has its filesystem for that long.
        let files = files_lock(&self.directory)?;
        let spec = spec::of(self.engine, &self.record, self.etc.clone(), network)?;
        let mut running = kiln_runtime::start(spec, stdio)?;
        let streams = streams.with_terminal(running.take_master())?;
        self.set_running(&running, restarts)?;
        drop(files);
        clients.started();
        let log = &mut self.log;
        let (record, listener) = (&self.record, &self.listener);
        let pump = Pump { record, running: &running, listener, log, streams, clients, closing: false };
        run_asked(self.engine, pump)?;
        Ok(running.wait()?)
    }

    fn set_running(&self, running: &Running, restarts: u32) -> Result<()> {
        let ports =
            self.reservation.as_ref().map(|held| networks::published(held.ports())).unwrap_or_default();
        let cgroup_paths = running.cgroup().map(|cgroup| cgroup.paths().to_vec()).unwrap_or_default();
        Records::of(self.engine).update(&self.id(), |record| {
            record.cgroup_paths = cgroup_paths;
            record.stopped = false;
            let health = record.asks_health().then(Health::default);
            let container = &mut record.container;
            container.ports = ports;
            container.address = self.joined.as_ref().map(|joined| joined.address.into());
            container.gateway = self.joined.as_ref().map(|joined| joined.gateway.into());
            container.state = crate::containers::State {
                status: Status::Running,
                pid: Some(running.pid()),
                supervisor_pid: Some(std::process::id()),
                started_at: Some(now()),
                finished_at: container.state.finished_at.take(),
                restart_count: restarts,
                health,
                ..Default::default()
            };
        })
    }

    fn set_restarting(&self, status: &ExitStatus) -> Result<()> {
        Records::of(self.engine).update(&self.id(), |record| {
            let state = &mut record.container.state;
            state.status = Status::Restarting;
            state.pid = None;
            state.exit_code = status.code;
            state.oom_killed = status.oom_killed;
            state.finished_at = Some(now());
        })
    }

    /// Waits before the next try; `false` when somebody stopped the container meanwhile. Whoever stops it connects.
    fn pause(&self, clients: &mut Clients, delay: Duration) -> Result<bool> {
        let deadline = Instant::now() + delay;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            let ready = kiln_sys::process::poll_readable(&[self.listener.as_fd()], Some(left));
            if ready.is_ok_and(|ready| ready[0]) {
                clients.accept(&self.listener);
            }
            if Records::of(self.engine).get(&self.id())?.is_none_or(|record| record.stopped) {
                return Ok(false);
            }
        }
    }

    /// The program did not start: the container is as it was, with the reason.
    fn not_started(mut self, error: Error) -> Result<()> {
        self.withdraw();
        let code = match error.kind {
            ErrorKind::CommandNotFound => 127,
            ErrorKind::CommandNotExecutable => 126,
            _ => 125,
        };
        let text = error.chain();
        Records::of(self.engine).update(&self.id(), |record| {
            record.container.state = crate::containers::State {
                status: Status::Created,
                exit_code: code,
                error: text,
                ..Default::default()
            };
        })?;
        Err(error)
    }

    /// The container ended for good. The ports are free, and the database knows, before anybody is told; a container
    /// that nobody wants to keep is gone from it. What takes time comes last.
    fn finish(mut self, clients: &mut Clients, code: i32, oom_killed: bool, error: &str) -> Result<()> {
        self.withdraw();
        let _ = std::fs::remove_file(self.directory.join(SOCKET));
        let records = Records::of(self.engine);
        let id = self.id();
        let is_removed = self.record.container.options.auto_remove;
        if is_removed {
            records.delete(&id)?;
        } else {
            records.update(&id, |record| {
                record.end(code, oom_killed);
                error.clone_into(&mut record.container.state.error);
            })?;
        }
        // Those who were in the queue when the socket went away are told, too.
        clients.accept(&self.listener);
        clients.finish(code);
        // Without it others are slower, nothing else.
        let _ = self.engine.store().db.take_time();
        if is_removed {
            volumes::remove_anonymous(self.engine, &self.record.anonymous_volumes);
            records.release(&self.record)?;
        }
        Ok(())
    }

    /// Gives back ports and network.
    fn withdraw(&mut self) {
        if let (Some(joined), Some(reservation)) = (&self.joined, &self.reservation) {
            unpublish(&joined.bridge, reservation.ports());
        }
        self.reservation = None;
        self.joined = None;
    }
}

/// Runs the pump, and meanwhile asks the program whether it is well, where the container wants that.
fn run_asked(engine: &Engine, pump: Pump<'_>) -> Result<()> {
    let probe = Probe::of(engine, pump.record, pump.running);
    let (ends, stop) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        if let Some(probe) = probe {
            scope.spawn(move || probe.run(&stop));
        }
        let result = pump.run();
        drop(ends);
        result
    })
}

/// The lock on a container's directory. A supervisor that has said that its container ended may still be tidying up.
fn lock(engine: &Engine, id: &str, directory: &Path) -> Result<FileLock> {
    let deadline = Instant::now() + TIDYING;
    loop {
        let lock = try_lock_file(&lock_path(directory)).map_err(|error| Error::internal("lock", error))?;
        if let Some(lock) = lock {
            return Ok(lock);
        }
        let runs = Records::of(engine).get(id)?.is_some_and(|record| record.is_active());
        if runs {
            return Err(Error::conflict(format!("the container `{id}` runs already")));
        }
        if Instant::now() > deadline {
            let message = format!("what the container `{id}` left is still being tidied up");
            return Err(Error::conflict(message).with_hint("try again in a moment"));
        }
        std::thread::sleep(TIDYING_STEP);
    }
}

/// Without a network of its own a container has the machine's ports.
fn no_ports() -> Error {
    let message = "ports are not published for a user who is not root";
    Error::new(ErrorKind::NotImplemented, message)
        .with_hint("the container has the machine's network: what it listens at is there without `--publish`")
}

fn publish(joined: &Joined, record: &Record) -> Result<Reservation> {
    let reservation = Reservation::take(&networks::mappings(&record.container.options.ports))?;
    joined.bridge.publish(reservation.ports(), joined.address)?;
    Ok(reservation)
}

/// What cannot be taken back now leads to an address that nobody has.
fn unpublish(bridge: &Bridge, ports: &[PortMapping]) {
    if !ports.is_empty() {
        let _ = bridge.unpublish(ports);
    }
}

fn listen(directory: &Path) -> Result<UnixListener> {
    let failed =
        |error: std::io::Error| Error::internal(format!("listen in `{}`", directory.display()), error);
    let _ = std::fs::remove_file(directory.join(SOCKET));
    let (_root, path) = socket_path(directory)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// The socket's address, valid as long as the directory's descriptor: a state root's path may be longer than a socket
/// address can be.
pub(crate) fn socket_path(directory: &Path) -> Result<(OwnedFd, std::path::PathBuf)> {
    let root =
        Root::open(directory).map_err(|error| Error::internal("open the container's directory", error))?;
    let fd = root.into_fd();
    let path = kiln_sys::fs::proc_path(&fd).join(SOCKET);
    Ok((fd, path))
}

impl From<kiln_runtime::Error> for Error {
    fn from(error: kiln_runtime::Error) -> Self {
        let kind = match (error.kind(), &error) {
            (kiln_runtime::ErrorKind::NotFound, _) => ErrorKind::CommandNotFound,
            (kiln_runtime::ErrorKind::NotExecutable, _) => ErrorKind::CommandNotExecutable,
            (_, kiln_runtime::Error::Invalid(_)) => ErrorKind::InvalidInput,
            _ => ErrorKind::Internal,
        };
        let mut new = Error::new(kind, crate::error::convert::chain(&error));
        new.hint = error.hint().map(str::to_owned);
        new
    }
}
