//! The daemon's doors: unix sockets, TCP with mutual TLS and sockets that systemd opened, HTTP/1.1 and HTTP/2 on each.
//!
//! ```text
//! listener --accept--> Peer --guard--> Request --version--> routes --> engine
//! ```

mod address;
mod connection;
mod control;
mod gc;
mod guard;
mod inherited;
mod limits;
mod monitor;
mod notify;
mod patient;
mod peer;
mod shares;
mod tenants;
mod tls;
mod unix;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use std::time::Duration;

use kiln_engine::{CancellationToken, Engine};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use address::{Address, AddressError};
pub use control::{Control, Settings};
pub(crate) use patient::Patient;
pub use peer::{Peer, Who};
pub use tls::TlsFiles;

use crate::buildkit;
use crate::observe::{Observer, Traces};
use connection::Door;
use notify::State;
use shares::Shares;
use tenants::Tenants;
use tls::{Offered, Tls};
use unix::SocketFile;

/// What the daemon is told at its start.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// Where it listens; all at the same time.
    pub addresses: Vec<Address>,
    /// What TCP is served with.
    pub tls: Option<TlsFiles>,
    /// What BuildKit's clients get.
    pub buildkit: buildkit::Options,
    /// Whether all who get in see the same images, builds and containers; else each user and each holder of a certificate
    /// has their own.
    pub shared: bool,
    /// Who unix sockets belong to.
    pub owner: Owner,
    /// How long builds that run when it is told to stop may go on before they are given up.
    pub patience: Duration,
    /// Where numbers for monitoring are served to everybody who reaches it, and nothing else: `host:port`.
    pub monitor: Option<String>,
    /// Where a trace of each build is sent.
    pub traces: Option<Traces>,
}

/// A user and a group; this process's where they are not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: Option<u32>,
    /// The group's number.
    pub gid: Option<u32>,
}

/// Why the daemon does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It was not told where.
    #[error("there is no address to listen on")]
    NoAddress,
    /// TCP without certificates was asked for.
    #[error("`{0}`: whoever reaches the API is root on this machine, so TCP is served with mutual TLS alone")]
    Plain(String),
    /// Another daemon has the socket.
    #[error("another daemon listens at `{}`", .0.display())]
    Taken(PathBuf),
    /// An address cannot be listened on.
    #[error("listen on `{address}`")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A file of TLS cannot be used.
    #[error("cannot use `{}` for TLS: {cause}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// `fd://` was asked for, and nobody handed sockets over.
    #[error("`fd://`: no sockets were handed over (`LISTEN_FDS` is not for this process)")]
    NothingInherited,
}

/// A listening socket of any kind.
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// All doors. The files of unix sockets go when this goes.
struct Listeners {
    all: Vec<Listener>,
    /// What TCP is served with.
    tls: Option<Offered>,
    files: Vec<SocketFile>,
}

/// Answers clients until it is told to stop, then lets what runs come to its end for a while.
pub async fn serve(engine: Engine, options: &ServeOptions, control: Control) -> Result<(), ServeError> {
    let Listeners { all, tls, files: _files } = open(options).await?;
    let monitor = monitor::open(options.monitor.as_deref()).await?;
    let (closed, stop) = (CancellationToken::new(), CancellationToken::new());
    let observer = Arc::new(Observer::start(options.traces.clone()));
    let buildkit = buildkit::Options { observer: Arc::clone(&observer), ..options.buildkit.clone() };
    let tenants = Tenants::new(engine, buildkit, stop.clone(), options.shared);
    let (tasks, slots) = (TaskTracker::new(), Arc::new(Semaphore::new(limits::MAX_CONNECTIONS)));
    let monitored = monitor::routes(tenants.clone(), Arc::clone(&slots), Arc::clone(&observer));
    if let Some(listener) = monitor {
        tasks.spawn(monitor::serve(listener, monitored.clone(), closed.clone()));
    }
    let door = Door {
        tenants: tenants.clone(),
        monitored,
        slots,
        shares: Shares::default(),
        handshakes: Shares::default(),
        observer,
        closed: closed.clone(),
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    for listener in all {
        let (door, tls) = (door.clone(), tls.clone());
        tasks.spawn(async move {
            match (listener, tls) {
                (Listener::Unix(listener), _) => door.unix(listener).await,
                (Listener::Tcp(listener), Some(tls)) => door.tcp(listener, tls).await,
                // Without TLS none was opened.
                (Listener::Tcp(_), None) => {}
            }
        });
    }
    let reaping = tokio::spawn(reap());
    if !options.buildkit.gc.is_empty() {
        tasks.spawn(gc::run(
            tenants.clone(),
            Arc::clone(&door.observer),
            options.buildkit.gc.clone(),
            closed.clone(),
        ));
    }
    notify::tell(&State::Ready);
    let Control { stop: told, hurry, mut reload, read } = control;
    tokio::select! {
        () = told.cancelled() => {}
        () = control::reread(&mut reload, &*read, &tenants, tls.as_ref()) => {}
        () = trim(tenants.clone()) => {}
    }
    notify::tell(&State::Stopping);
    closed.cancel();
    finish_builds(&tenants, options.patience, &hurry).await;
    tracing::info!("stopping");
    stop.cancel();
    tasks.close();
    let ended = async { tokio::join!(tasks.wait(), tenants.ended()) };
    if tokio::time::timeout(limits::FAREWELL, ended).await.is_err() {
        tracing::info!("some requests did not end in time");
    }
    reaping.abort();
    Ok(())
}

/// Gives the memory that requests used back to the machine, for ever: an allocator keeps it, and most of the time a daemon
/// has nothing to do.
async fn trim(tenants: Tenants) {
    loop {
        tokio::time::sleep(limits::TRIM).await;
        if tenants.were_asked() {
            // What cannot be done now is done next time.
            let _ = tokio::task::spawn_blocking(kiln_engine::trim_memory).await;
        }
    }
}

/// Waits until no build runs, for `patience` at most or until it shall be over.
async fn finish_builds(tenants: &Tenants, patience: Duration, hurry: &CancellationToken) {
    let running = tenants.builds();
    if running == 0 || patience.is_zero() {
        return;
    }
    tracing::info!(running, seconds = patience.as_secs(), "builds may end before this stops");
    let ended = async {
        while tenants.builds() > 0 {
            tokio::time::sleep(limits::LOOK).await;
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(patience, ended) => {
            if ended.is_err() {
                tracing::warn!(running = tenants.builds(), "builds did not end in time");
            }
        }
        () = hurry.cancelled() => {}
    }
}

/// Takes note of the ends of processes that outlive what started them, for ever.
async fn reap() {
    let Ok(mut ends) = signal(SignalKind::child()) else { return std::future::pending().await };
    while ends.recv().await.is_some() {
        kiln_engine::errand::reap();
    }
    std::future::pending::<()>().await;
}

async fn open(options: &ServeOptions) -> Result<Listeners, ServeError> {
    if options.addresses.is_empty() {
        return Err(ServeError::NoAddress);
    }
    let tls = options.tls.as_ref().map(Tls::load).transpose()?.map(Offered::new);
    let mut listeners = Listeners { all: Vec::new(), tls, files: Vec::new() };
    for address in &options.addresses {
        match address {
            Address::Unix(path) => {
                let unix::Socket { listener, file } = unix::listen(path, options.owner)?;
                listeners.all.push(of_unix(listener, &address.to_string())?);
                listeners.files.push(file);
            }
            Address::Tcp(host) => {
                listeners.check_tls(&address.to_string())?;
                let bound = TcpListener::bind(host).await;
                let bound = bound.map_err(|source| listen_error(&address.to_string(), source))?;
                listeners.all.push(Listener::Tcp(bound));
            }
            Address::Inherited => {
                for socket in inherited::take()? {
                    listeners.all.push(match socket {
                        inherited::Socket::Unix(listener) => of_unix(listener, "fd://")?,
                        inherited::Socket::Tcp(listener) => {
                            listeners.check_tls("fd://")?;
                            of_tcp(listener)?
                        }
                    });
                }
            }
        }
        tracing::info!(%address, "listening");
    }
    Ok(listeners)
}

impl Listeners {
    /// That TCP is not served without certificates.
    fn check_tls(&self, address: &str) -> Result<(), ServeError> {
        match self.tls {
            Some(_) => Ok(()),
            None => Err(ServeError::Plain(address.to_owned())),
        }
    }
}

fn listen_error(address: &str, source: io::Error) -> ServeError {
    ServeError::Listen { address: address.to_owned(), source }
}

fn of_unix(listener: std::os::unix::net::UnixListener, address: &str) -> Result<Listener, ServeError> {
    let listener = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
    listener.map(Listener::Unix).map_err(|source| listen_error(address, source))
}

fn of_tcp(listener: std::net::TcpListener) -> Result<Listener, ServeError> {
    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    listener.map(Listener::Tcp).map_err(|source| listen_error("fd://", source))
}
