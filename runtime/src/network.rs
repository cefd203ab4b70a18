//! Container networks: a bridge with NAT, published ports, and the files that name things.

pub mod bridge;
pub mod dns;
mod firewall;
mod link;
mod netlink;
pub mod ports;
pub mod sandbox;
pub mod subnet;

use std::io;

pub use bridge::{Bridge, BridgeConfig, Endpoint};
pub use ports::{PortMapping, Protocol, Reservation};
pub use sandbox::{Sandbox, loopback_up};
pub use subnet::{Routes, Subnet, pick_subnet};

/// Why a network operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request or a file.
    #[error("{action} `{subject}`: {source}")]
    Kernel {
        /// The verb.
        action: &'static str,
        /// The link, address or file.
        subject: String,
        /// The cause.
        source: io::Error,
    },
    /// A network namespace could not be made or entered.
    #[error(transparent)]
    Namespace(#[from] kiln_sys::Error),
    /// The firewall program failed.
    #[error("{message}")]
    Firewall {
        /// What `nft` said, or that it is missing.
        message: String,
        /// What to do.
        hint: Option<&'static str>,
    },
    /// A host port is taken.
    #[error("port `{0}` is already in use on this host")]
    PortInUse(String),
    /// No private address range is free of the host's routes.
    #[error("no free IPv4 subnet: every candidate overlaps a route of this host")]
    NoSubnet,
    /// A text is not an IPv4 range of at most 30 bits.
    #[error("`{0}` is not an IPv4 subnet such as `172.17.0.0/16`")]
    BadSubnet(String),
}

impl Error {
    pub(crate) fn kernel(action: &'static str, subject: impl Into<String>, source: io::Error) -> Error {
        Error::Kernel { action, subject: subject.into(), source }
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Firewall { hint, .. } => *hint,
            Error::PortInUse(_) => {
                Some("publish another host port, or stop what listens there (`ss -ltnup`)")
            }
            Error::NoSubnet => Some("name a subnet in the configuration"),
            _ => None,
        }
    }
}

/// The result of a network operation.
pub type Result<T> = std::result::Result<T, Error>;
