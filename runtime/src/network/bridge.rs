//! The bridge that containers share, and a container's end of it.

use std::ffi::OsStr;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::firewall::Firewall;
use super::link::{Link, Links, Pair};
use super::ports::PortMapping;
use super::sandbox::{Sandbox, write_setting};
use super::{Error, Result, Routes, Subnet};

/// What the note of a bridge begins with; the path of its lock file follows.
const NOTE: &[u8] = b"kiln ";
/// The MTU where there is no default route to take it from.
const DEFAULT_MTU: u32 = 1500;
/// The name of the container's interface.
const CONTAINER_INTERFACE: &str = "eth0";

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
    link: Link,
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
    /// Makes sure that the bridge and its rules exist; a few netlink questions when they do. A bridge of this name that
    /// has only other addresses was somebody else's, such as a state root's that was removed: it is replaced, and what is
    /// on it has no network any more.
    pub fn ensure(config: &BridgeConfig) -> Result<Bridge> {
        let mut links = open_links()?;
        if let Some(bridge) = ready(config, &mut links)? {
            return Ok(bridge);
        }
        let _lock = Self::lock(&config.lock)?;
        match ready(config, &mut links)? {
            Some(bridge) => Ok(bridge),
            None => set_up(config, &mut links),
        }
    }

    /// Takes the lock that is held while a bridge is set up; given back when the file is dropped.
    pub fn lock(path: &Path) -> Result<File> {
        let failed = |cause| Error::kernel("lock", path.display().to_string(), cause);
        let lock = File::create(path).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(lock)
    }

    /// The configuration it was set up with.
    pub fn config(&self) -> &BridgeConfig {
        &self.config
    }

    /// Gives the sandbox an `eth0` on the bridge with this address and a default route, and sets its `lo` up.
    ///
    /// The pair disappears with the namespace: there is no detach.
    pub fn attach(&self, sandbox: &mut Sandbox, address: Ipv4Addr) -> Result<Endpoint> {
        let subnet = self.config.subnet;
        let endpoint = Endpoint {
            address,
            mac: mac_of(address),
            host_interface: host_interface_name(&self.config.name, address),
        };
        let pair = Pair {
            host_name: &endpoint.host_interface,
            bridge: self.link.index,
            peer_name: CONTAINER_INTERFACE,
            peer_ns: sandbox.as_fd(),
            peer_mac: endpoint.mac,
            mtu: self.link.mtu,
        };
        add_pair(&pair)?;
        let inside = |cause| Error::kernel("configure", CONTAINER_INTERFACE, cause);
        let link = sandbox.links.find(CONTAINER_INTERFACE).map_err(inside)?;
        let index = link.ok_or_else(|| inside(std::io::ErrorKind::NotFound.into()))?.index;
        sandbox.links.configure(index, address, subnet, subnet.gateway()).map_err(inside)?;
        Ok(endpoint)
    }

    /// Makes host ports lead to the container at `address`. All or none.
    pub fn publish(&self, ports: &[PortMapping], address: Ipv4Addr) -> Result<()> {
        Firewall::of(&self.config).publish(ports, address)
    }

    /// Takes back what [`Bridge::publish`] did; ports that are not published are no error.
    pub fn unpublish(&self, ports: &[PortMapping]) -> Result<()> {
        Firewall::of(&self.config).unpublish(ports)
    }

    /// Removes bridges with their rules that nobody uses and whose state root is gone: their lock file is no more, and nothing is
    /// on them. How many.
    pub fn remove_abandoned() -> Result<usize> {
        let failed = |cause| Error::kernel("list", "the network interfaces", cause);
        let mut removed = 0;
        for link in open_links()?.noted().map_err(failed)? {
            let Some(lock) = link.note.strip_prefix(NOTE).map(OsStr::from_bytes).map(PathBuf::from) else {
                continue;
            };
            // Only a whole path says the same here as where the bridge was made.
            if link.has_ports || !lock.is_absolute() || lock.exists() {
                continue;
            }
            let (name, table, subnet) = (link.name.clone(), link.name, Subnet::new(Ipv4Addr::UNSPECIFIED, 0));
            Self::remove(&BridgeConfig { name, table, subnet, mtu: None, lock })?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes the bridge and its rules.
    pub fn remove(config: &BridgeConfig) -> Result<()> {
        open_links()?.delete(&config.name).map_err(|cause| Error::kernel("delete", &config.name, cause))?;
        Firewall::of(config).remove()
    }
}

fn open_links() -> Result<Links> {
    Links::open().map_err(|cause| Error::kernel("open", "netlink socket", cause))
}

/// The bridge, if a set-up went to its end: the link is set up last.
fn ready(config: &BridgeConfig, links: &mut Links) -> Result<Option<Bridge>> {
    let found = links.find(&config.name).map_err(|cause| Error::kernel("find", &config.name, cause))?;
    let Some(link) = found.filter(|link| link.up) else { return Ok(None) };
    let is_ready = addresses(config, links, link)?.contains(&own_address(config))
        && Firewall::of(config).is_complete()?;
    Ok(is_ready.then(|| Bridge { config: config.clone(), link }))
}

fn addresses(config: &BridgeConfig, links: &mut Links, link: Link) -> Result<Vec<(Ipv4Addr, u8)>> {
    links.addresses(link.index).map_err(|cause| Error::kernel("read the addresses of", &config.name, cause))
}

/// The address that the bridge is to have; others beside it are the administrator's.
fn own_address(config: &BridgeConfig) -> (Ipv4Addr, u8) {
    (config.subnet.gateway(), config.subnet.prefix)
}

/// The bridge as far as a set-up made it, if it is this one's and no other's.
fn begun(config: &BridgeConfig, links: &mut Links) -> Result<Option<Link>> {
    let found = links.find(&config.name).map_err(|cause| Error::kernel("find", &config.name, cause))?;
    let Some(link) = found else { return Ok(None) };
    let there = addresses(config, links, link)?;
    if there.is_empty() || there.contains(&own_address(config)) {
        return Ok(found);
    }
    Bridge::remove(config)?;
    Ok(None)
}

fn set_up(config: &BridgeConfig, links: &mut Links) -> Result<Bridge> {
    let name = config.name.as_str();
    let failed = |action| move |cause| Error::kernel(action, name, cause);
    let link = match begun(config, links)? {
        Some(link) => link,
        None => {
            let mtu = config.mtu.map_or_else(|| outside_mtu(links), Ok)?;
            let mac = mac_of(config.subnet.gateway());
            let note = note_of(&config.lock);
            links.add_bridge(name, mtu, mac, &note).map_err(failed("create bridge"))?;
            let link = links.find(name).map_err(failed("find"))?;
            link.ok_or_else(|| failed("find")(std::io::ErrorKind::NotFound.into()))?
        }
    };
    write_settings(name)?;
    let gateway = config.subnet.gateway();
    match links.add_address(link.index, gateway, config.subnet) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed("add the address of")(error));
        }
        _ => {}
    }
    Firewall::of(config).install()?;
    links.set_up(link.index).map_err(failed("set up"))?;
    Ok(Bridge { config: config.clone(), link })
}

fn note_of(lock: &Path) -> Vec<u8> {
    [NOTE, lock.as_os_str().as_bytes()].concat()
}

/// Forwarding for the host; for the bridge, loopback addresses as sources (published ports on 127.0.0.1), which the
/// firewall keeps containers from using, and no IPv6.
fn write_settings(bridge: &str) -> Result<()> {
    write_setting("/proc/sys/net/ipv4/ip_forward", "1")?;
    write_setting(&format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"), "1")?;
    write_setting(&format!("/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6"), "1")
}

/// The MTU of the interface that leads outside: larger frames would be lost there.
fn outside_mtu(links: &mut Links) -> Result<u32> {
    let Some(name) = Routes::of_host()?.default_interface else {
        return Ok(DEFAULT_MTU);
    };
    let link = links.find(&name).map_err(|cause| Error::kernel("find", name, cause))?;
    Ok(link.map_or(DEFAULT_MTU, |link| link.mtu))
}

/// A namespace dies a moment after its last process, and its pair with it; an address that is used again at once may
/// find the name taken. A pair whose namespace is still dying is deleted, which waits for it.
fn add_pair(pair: &Pair<'_>) -> Result<()> {
    let failed = |cause| Error::kernel("create", pair.host_name, cause);
    let mut links = open_links()?;
    match links.add_pair(pair) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            links.delete(pair.host_name).map_err(failed)?;
            links.add_pair(pair).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

/// An Ethernet address that follows from the IPv4 one, so that neighbours' caches stay true when it is used again.
fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// The host's end is named after bridge and address: unique, and at most 15 bytes.
fn host_interface_name(bridge: &str, address: Ipv4Addr) -> String {
    let kept: String = bridge.chars().take(6).collect();
    format!("{kept}v{:08x}", address.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_the_kernel() {
        let name = host_interface_name("kiln0123456789", Ipv4Addr::new(172, 18, 0, 2));
        assert_eq!(name, "kiln01vac120002");
        assert_eq!(name.len(), 15);
        assert_eq!(mac_of(Ipv4Addr::new(172, 18, 0, 2)), [2, 0x42, 172, 18, 0, 2]);
    }
}
