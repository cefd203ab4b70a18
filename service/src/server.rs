//! The daemon's doors: unix sockets, TCP with mutual TLS and sockets that systemd opened, HTTP/1.1 and HTTP/2 on each.
//!
//! ```text
//! listener --accept--> Peer --guard--> Request --version--> routes --> engine
//! ```

mod address;
mod connection;
mod guard;
mod inherited;
mod limits;
mod patient;
mod peer;
mod tenants;
mod tls;
mod unix;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_engine::{CancellationToken, Engine};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use address::{Address, AddressError};
pub(crate) use patient::Patient;
pub use peer::{Peer, Who};
pub use tls::TlsFiles;

use crate::buildkit;
use connection::Door;
use tenants::Tenants;
use tls::Tls;
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
    Tcp(TcpListener, Tls),
}

/// All doors. The files of unix sockets go when this goes.
struct Listeners {
    all: Vec<Listener>,
    _files: Vec<SocketFile>,
}

/// Answers clients until `stop`, then lets what runs come to its end for a while.
pub async fn serve(
    engine: Engine,
    options: &ServeOptions,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let listeners = open(options).await?;
    let tenants = Tenants::new(engine, options.buildkit.clone(), stop.clone(), options.shared);
    let tasks = TaskTracker::new();
    let door = Door {
        tenants: tenants.clone(),
        slots: Arc::new(Semaphore::new(limits::MAX_CONNECTIONS)),
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    for listener in listeners.all {
        let door = door.clone();
        tasks.spawn(async move {
            match listener {
                Listener::Unix(listener) => door.unix(listener).await,
                Listener::Tcp(listener, tls) => door.tcp(listener, tls).await,
            }
        });
    }
    tokio::select! {
        () = stop.cancelled() => {}
        () = reap() => {}
        () = trim(tenants.clone()) => {}
    }
    tracing::info!("stopping");
    tasks.close();
    let ended = async { tokio::join!(tasks.wait(), tenants.ended()) };
    if tokio::time::timeout(limits::FAREWELL, ended).await.is_err() {
        tracing::info!("some requests did not end in time");
    }
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
    let mut listeners = Listeners { all: Vec::new(), _files: Vec::new() };
    for address in &options.addresses {
        match address {
            Address::Unix(path) => {
                let unix::Socket { listener, file } = unix::listen(path)?;
                let address = format!("unix://{}", path.display());
                listeners.all.push(of_unix(listener, &address)?);
                listeners._files.push(file);
            }
            Address::Tcp(address) => {
                let shown = format!("tcp://{address}");
                let tls = tls(options, &shown)?;
                let bound = TcpListener::bind(address).await;
                let bound = bound.map_err(|source| listen_error(&shown, source))?;
                listeners.all.push(Listener::Tcp(bound, tls));
            }
            Address::Inherited => {
                for socket in inherited::take()? {
                    listeners.all.push(match socket {
                        inherited::Socket::Unix(listener) => of_unix(listener, "fd://")?,
                        inherited::Socket::Tcp(listener) => of_tcp(listener, tls(options, "fd://")?)?,
                    });
                }
            }
        }
        tracing::info!(?address, "listening");
    }
    Ok(listeners)
}

fn listen_error(address: &str, source: io::Error) -> ServeError {
    ServeError::Listen { address: address.to_owned(), source }
}

fn of_unix(listener: std::os::unix::net::UnixListener, address: &str) -> Result<Listener, ServeError> {
    let listener = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
    listener.map(Listener::Unix).map_err(|source| listen_error(address, source))
}

fn of_tcp(listener: std::net::TcpListener, tls: Tls) -> Result<Listener, ServeError> {
    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    listener.map(|listener| Listener::Tcp(listener, tls)).map_err(|source| listen_error("fd://", source))
}

fn tls(options: &ServeOptions, address: &str) -> Result<Tls, ServeError> {
    let files = options.tls.as_ref().ok_or_else(|| ServeError::Plain(address.to_owned()))?;
    Tls::load(files)
}
