//! The networks that containers can be in, and a container's way into one.

pub(crate) mod etc;
mod steps;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::{Lease, Resource, Store};
use kiln_oci::Digest;
use kiln_runtime::network::{
    Bridge, BridgeConfig, Error as NetworkError, PortMapping, Protocol as Transport, Routes, Sandbox, Subnet,
    pick_subnet,
};
use serde::{Deserialize, Serialize};

pub(crate) use steps::StepNetwork;

use crate::containers::{PortRequest, Protocol, PublishedPort};
use crate::{Engine, Error, ErrorKind, Result};

const KIND: &str = "network";
const BRIDGE: &str = "bridge";
/// The root whose bridge has the plain name; others have one that follows from their path.
const DEFAULT_ROOT: &str = "/var/lib/kiln";
/// The range of a bridge that has none yet.
const NOWHERE: Subnet = Subnet { base: Ipv4Addr::UNSPECIFIED, prefix: 0 };
/// Addresses tried for one container before the network counts as full.
const ADDRESS_ATTEMPTS: usize = 4096;

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// 64 hex characters.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// Its addresses, such as `172.30.0.0/16`.
    pub subnet: Option<String>,
    /// The bridge's own address.
    pub gateway: Option<String>,
}

/// The networks of a state root.
#[derive(Debug, Clone, Copy)]
pub struct Networks<'a> {
    pub(crate) engine: &'a Engine,
}

impl Networks<'_> {
    /// All networks, by name.
    pub fn list(&self) -> Result<Vec<Network>> {
        let subnet = stored_subnet(self.engine.store())?;
        let network = |name: &str, driver: &str| Network {
            id: id_of(self.engine.store(), name),
            name: name.to_owned(),
            driver: driver.to_owned(),
            ..Network::default()
        };
        let bridge = Network {
            subnet: subnet.map(|subnet| subnet.to_string()),
            gateway: subnet.map(|subnet| subnet.gateway().to_string()),
            ..network(BRIDGE, "bridge")
        };
        Ok(vec![bridge, network("host", "host"), network("none", "null")])
    }
}

impl Networks<'_> {
    /// Removes this root's bridge, rules and control groups from the kernel; they come back when a container needs them.
    pub fn remove_all(&self) -> Result<()> {
        kiln_runtime::cgroup::cleanup(self.engine.cgroup_parent().as_ref())
            .map_err(|error| Error::internal("remove the control groups", error))?;
        if stored_subnet(self.engine.store())?.is_some() {
            Bridge::remove(&config(self.engine.store())?)?;
            self.engine.store().objects(KIND).delete(&id_of(self.engine.store(), BRIDGE))?;
        }
        Ok(())
    }
}

fn id_of(store: &Store, name: &str) -> String {
    let text = format!("{}\0{name}", store.root().display());
    Digest::of(text.as_bytes()).hex().to_owned()
}

/// What the database remembers of the bridge.
#[derive(Serialize, Deserialize)]
struct BridgeRecord {
    subnet: String,
}

/// A container's place on the bridge. The address is free again when the lease ends, the rest when nobody has the
/// namespace any more.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) ns: Arc<OwnedFd>,
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) bridge: Bridge,
    host_interface: String,
}

impl Joined {
    /// Whether the bridge still has the container's pair as a port.
    pub(crate) fn is_connected(&self) -> bool {
        Path::new("/sys/class/net").join(&self.host_interface).join("master").exists()
    }
}

/// Makes a namespace on the bridge, with an address that `lease` holds.
pub(crate) fn join(store: &Store, lease: &Lease) -> Result<Joined> {
    let bridge = Bridge::ensure(&config(store)?)?;
    let subnet = bridge.config().subnet;
    let address = claim(lease, subnet)?;
    let mut sandbox = Sandbox::new()?;
    let host_interface = bridge.attach(&mut sandbox, address)?.host_interface;
    let ns = Arc::new(sandbox.into_fd());
    Ok(Joined { ns, address, gateway: subnet.gateway(), bridge, host_interface })
}

/// The bridge of this root. Its range is chosen once, and again when the host has meanwhile come to route it.
fn config(store: &Store) -> Result<BridgeConfig> {
    let root = store.root();
    let (name, table) = names(root);
    let lock = root.join("containers").join(".network-lock");
    // In this order: a range is stored before there is a bridge with it.
    let is_there = exists(&name);
    let subnet = match stored_subnet(store)? {
        Some(subnet) if is_there => subnet,
        _ => return settle(store, BridgeConfig { name, table, subnet: NOWHERE, mtu: None, lock }),
    };
    Ok(BridgeConfig { name, table, subnet, mtu: None, lock })
}

/// Gives the bridge a range while nobody else does. One that is there although nothing is stored is that of a root which was
/// removed from this path: it goes with all that was on it, the published ports too.
fn settle(store: &Store, config: BridgeConfig) -> Result<BridgeConfig> {
    let _lock = Bridge::lock(&config.lock)?;
    let subnet = match (stored_subnet(store)?, exists(&config.name)) {
        (Some(subnet), true) => subnet,
        (stored, false) => choose_subnet(store, stored)?,
        (None, true) => {
            Bridge::remove(&config)?;
            choose_subnet(store, None)?
        }
    };
    Ok(BridgeConfig { subnet, ..config })
}

/// Whether the host has a network interface of this name.
fn exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Interface and table of a root's bridge.
fn names(root: &Path) -> (String, String) {
    if root == Path::new(DEFAULT_ROOT) {
        return ("kiln0".to_owned(), "kiln".to_owned());
    }
    let digest = Digest::of(root.as_os_str().as_encoded_bytes());
    let name = format!("kiln-{}", &digest.hex()[..8]);
    (name.clone(), name)
}

fn stored_subnet(store: &Store) -> Result<Option<Subnet>> {
    let record = store.objects(KIND).by_name::<BridgeRecord>(BRIDGE)?;
    Ok(record.and_then(|object| object.document.subnet.parse().ok()))
}

fn choose_subnet(store: &Store, stored: Option<Subnet>) -> Result<Subnet> {
    let taken = Routes::of_host()?.taken;
    let is_free = |subnet: &Subnet| !taken.iter().any(|other| other.overlaps(subnet));
    if let Some(subnet) = stored.filter(is_free) {
        return Ok(subnet);
    }
    let subnet = match pick_subnet(&taken) {
        // State roots that are gone may have left theirs.
        Err(NetworkError::NoSubnet) if Bridge::remove_abandoned()? > 0 => {
            pick_subnet(&Routes::of_host()?.taken)?
        }
        picked => picked?,
    };
    let record = BridgeRecord { subnet: subnet.to_string() };
    store.objects(KIND).put(&id_of(store, BRIDGE), Some(BRIDGE), &record)?;
    Ok(subnet)
}

/// An address that nobody has. The search begins anywhere: an address just given back may still be known to neighbours,
/// and its interface may still be going.
fn claim(lease: &Lease, subnet: Subnet) -> Result<Ipv4Addr> {
    let count = subnet.container_addresses().count();
    let start = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs() as usize % count;
    let candidates = (0..ADDRESS_ATTEMPTS.min(count))
        .filter_map(|offset| subnet.container_addresses().nth((start + offset) % count))
        .map(|address| Resource::Address(address.to_string()));
    match lease.claim(candidates)? {
        Some(Resource::Address(text)) => {
            text.parse().map_err(|error| Error::internal(format!("read the address `{text}`"), error))
        }
        _ => Err(Error::new(ErrorKind::Unavailable, format!("no free address in `{subnet}`"))),
    }
}

/// What is asked for as the runtime takes it.
pub(crate) fn mappings(ports: &[PortRequest]) -> Vec<PortMapping> {
    let mapping = |port: &PortRequest| PortMapping {
        host_ip: match port.host_ip {
            Some(IpAddr::V4(address)) => address,
            _ => Ipv4Addr::UNSPECIFIED,
        },
        host_port: port.host_port.unwrap_or(0),
        container_port: port.container_port,
        protocol: match port.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        },
    };
    ports.iter().map(mapping).collect()
}

/// What the runtime published as people see it.
pub(crate) fn published(ports: &[PortMapping]) -> Vec<PublishedPort> {
    let published = |port: &PortMapping| PublishedPort {
        host_ip: port.host_ip.into(),
        host_port: port.host_port,
        container_port: port.container_port,
        protocol: match port.protocol {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        },
    };
    ports.iter().map(published).collect()
}

/// Takes back the ports of a container whose supervisor died.
pub(crate) fn forget_ports(store: &Store, ports: &[PublishedPort]) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let requests: Vec<PortRequest> = ports
        .iter()
        .map(|port| PortRequest {
            host_ip: Some(port.host_ip),
            host_port: Some(port.host_port),
            container_port: port.container_port,
            protocol: port.protocol,
        })
        .collect();
    Ok(Bridge::ensure(&config(store)?)?.unpublish(&mappings(&requests))?)
}

impl From<kiln_runtime::network::Error> for Error {
    fn from(error: kiln_runtime::network::Error) -> Self {
        use kiln_runtime::network::Error as Network;
        let kind = match &error {
            Network::PortInUse(_) => ErrorKind::Conflict,
            Network::NoSubnet | Network::Firewall { .. } => ErrorKind::Unavailable,
            Network::BadSubnet(_) => ErrorKind::InvalidInput,
            Network::Kernel { .. } | Network::Namespace(_) => ErrorKind::Internal,
        };
        let mut new = Error::new(kind, error.to_string());
        new.hint = error.hint().map(str::to_owned);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_root_has_its_own_names() {
        assert_eq!(names(Path::new(DEFAULT_ROOT)), ("kiln0".to_owned(), "kiln".to_owned()));
        let (one, two) = (names(Path::new("/a")), names(Path::new("/b")));
        assert_ne!(one, two);
        assert!(one.0.len() <= 15);
    }

    #[test]
    fn a_port_without_numbers_is_any() {
        let request =
            PortRequest { host_ip: None, host_port: None, container_port: 80, protocol: Protocol::Udp };
        let mapping = mappings(&[request])[0];
        assert_eq!((mapping.host_ip, mapping.host_port), (Ipv4Addr::UNSPECIFIED, 0));
        assert_eq!(published(&[mapping])[0].protocol, Protocol::Udp);
    }
}
