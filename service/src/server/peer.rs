//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::shares::Share;
use super::tenants::Tenant;

/// Who asks. It is among the extensions of every request.
#[derive(Clone, Debug)]
pub struct Peer {
    who: Who,
    /// The socket beneath TLS, which tells when its other end is gone.
    socket: Option<Arc<OwnedFd>>,
    /// The connection counts as long as anybody has this.
    _slot: Arc<(OwnedSemaphorePermit, Share<Tenant>)>,
}

/// How we know whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// By what the kernel says of a unix socket's other end.
    Process {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The process, where it is in a namespace that we see.
        pid: Option<i32>,
    },
    /// By a certificate that our authority signed.
    Certificate {
        /// Where it calls from.
        address: SocketAddr,
        /// Whose it is: of a digest of the certificate's issuer and subject.
        holder: u128,
    },
}

impl Peer {
    pub(super) fn new(who: Who, slot: OwnedSemaphorePermit, share: Share<Tenant>) -> Peer {
        Peer { who, socket: None, _slot: Arc::new((slot, share)) }
    }

    /// The same with the socket beneath.
    pub(super) fn on(self, socket: Option<OwnedFd>) -> Peer {
        Peer { socket: socket.map(Arc::new), ..self }
    }

    /// The socket beneath TLS.
    pub(crate) fn socket(&self) -> Option<&Arc<OwnedFd>> {
        self.socket.as_ref()
    }

    /// How we know whoever asks.
    pub fn who(&self) -> Who {
        self.who
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Process { uid, gid, pid: Some(pid) } => write!(f, "uid={uid} gid={gid} pid={pid}"),
            Who::Process { uid, gid, pid: None } => write!(f, "uid={uid} gid={gid}"),
            Who::Certificate { address, holder } => write!(f, "tls={address} holder={holder:032x}"),
        }
    }
}
