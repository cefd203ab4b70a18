//! The files that are bind-mounted over a container's `/etc`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use kiln_runtime::EtcFiles;
use kiln_runtime::network::dns;

use crate::config::Dns;
use crate::{Error, Result};

/// The address that `--add-host name:host-gateway` means.
const HOST_GATEWAY: &str = "host-gateway";

/// What the files say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) hostname: &'a str,
    /// The container's address on the bridge and that of the bridge.
    pub(crate) addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Whether it shares the host's network, and so reaches its loopback name servers.
    pub(crate) is_host: bool,
    /// `(name, address)` lines for `hosts`.
    pub(crate) extra_hosts: &'a [(String, String)],
    /// What `resolv.conf` says otherwise than this machine's.
    pub(crate) dns: Option<&'a Dns>,
}

/// The three files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Texts {
    resolv_conf: String,
    hosts: String,
    hostname: String,
}

impl Texts {
    /// The files that say this.
    pub(crate) fn of(facts: &Facts<'_>) -> Texts {
        let host = dns::host_resolv_conf();
        let host = facts.dns.map(|dns| dns.apply(host.clone())).unwrap_or(host);
        let gateway = facts.addresses.map_or(Ipv4Addr::LOCALHOST, |(_, gateway)| gateway).to_string();
        let address = |address: &String| if address == HOST_GATEWAY { &gateway } else { address }.clone();
        let extra: Vec<(String, String)> =
            facts.extra_hosts.iter().map(|(name, of)| (name.clone(), address(of))).collect();
        Texts {
            resolv_conf: if facts.is_host { host } else { dns::resolv_conf(&host) },
            hosts: dns::hosts(facts.hostname, facts.addresses.map(|(own, _)| own), &extra),
            hostname: dns::hostname(facts.hostname),
        }
    }

    /// Writes them into `directory`. What they are mounted on in an image without them is kept in the state root.
    pub(crate) fn write(&self, root: &Path, directory: &Path) -> Result<EtcFiles> {
        let lowest = root.join("lowest");
        kiln_runtime::prepare::lowest::make(&lowest)
            .map_err(|error| Error::internal(format!("make `{}`", lowest.display()), error))?;
        let file = |name: &str, text: &str| -> Result<Option<PathBuf>> {
            let path = directory.join(name);
            std::fs::write(&path, text)
                .map_err(|error| Error::internal(format!("write `{}`", path.display()), error))?;
            Ok(Some(path))
        };
        Ok(EtcFiles {
            resolv_conf: file("resolv.conf", &self.resolv_conf)?,
            hosts: file("hosts", &self.hosts)?,
            hostname: file("hostname", &self.hostname)?,
            readonly: false,
            lowest: Some(lowest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_name_container_and_gateway() {
        let directory = tempfile::tempdir().unwrap();
        let facts = Facts {
            hostname: "web",
            addresses: Some((Ipv4Addr::new(172, 17, 0, 9), Ipv4Addr::new(172, 17, 0, 1))),
            is_host: false,
            extra_hosts: &[("host".to_owned(), "host-gateway".to_owned())],
            dns: Some(&Dns { nameservers: vec!["10.0.0.9".to_owned()], ..Dns::default() }),
        };
        let files = Texts::of(&facts).write(directory.path(), directory.path()).unwrap();
        let hosts = std::fs::read_to_string(files.hosts.unwrap()).unwrap();
        assert!(hosts.ends_with("172.17.0.1\thost\n172.17.0.9\tweb\n"), "{hosts}");
        assert_eq!(std::fs::read_to_string(files.hostname.unwrap()).unwrap(), "web\n");
        assert!(std::fs::read_to_string(files.resolv_conf.unwrap()).unwrap().contains("nameserver 10.0.0.9"));
    }
}
