//! A network namespace made for a container, ready to be connected.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_sys::namespace::{in_network_namespace, new_network_namespace_with};

use super::link::Links;
use super::{Error, Result};

/// Settings of every new namespace, as Docker has them, and none of IPv6 beyond loopback: a container must not take
/// router advertisements from its neighbours (CVE-2020-13401).
const SETTINGS: [(&str, &str); 3] = [
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// A fresh network namespace. It lives as long as this value, a clone of its descriptor, or a process in it.
#[derive(Debug)]
pub struct Sandbox {
    ns: OwnedFd,
    pub(crate) links: Links,
}

impl Sandbox {
    /// Makes a namespace with its settings; no link is up yet.
    pub fn new() -> Result<Sandbox> {
        let (ns, links) = new_network_namespace_with(prepare)?;
        Ok(Sandbox { ns, links: links? })
    }

    /// Makes a namespace with nothing but loopback, which is up.
    pub fn isolated() -> Result<Sandbox> {
        let mut sandbox = Sandbox::new()?;
        sandbox.links.set_loopback_up().map_err(|cause| Error::kernel("set up", "lo", cause))?;
        Ok(sandbox)
    }

    /// The namespace, to be kept after the sandbox's own socket is closed.
    pub fn into_fd(self) -> OwnedFd {
        self.ns
    }
}

impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ns.as_fd()
    }
}

/// Sets the loopback interface of a network namespace up and writes its settings.
pub fn loopback_up(ns: BorrowedFd<'_>) -> Result<()> {
    let mut links = in_network_namespace(ns, prepare)??;
    links.set_loopback_up().map_err(|cause| Error::kernel("set up", "lo", cause))
}

fn prepare() -> Result<Links> {
    for (file, value) in SETTINGS {
        write_setting(file, value)?;
    }
    Links::open().map_err(|cause| Error::kernel("open", "netlink socket", cause))
}

/// Writes a kernel setting. One that this kernel does not have (no IPv6, say) needs no value.
pub(crate) fn write_setting(file: &str, value: &str) -> Result<()> {
    match std::fs::write(file, value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::kernel("write", file, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_has_loopback_and_its_settings() {
        let sandbox = Sandbox::isolated().unwrap();
        in_network_namespace(sandbox.as_fd(), || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            for (file, value) in SETTINGS {
                if let Ok(text) = std::fs::read_to_string(file) {
                    assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), value, "{file}");
                }
            }
        })
        .unwrap();
    }
}
