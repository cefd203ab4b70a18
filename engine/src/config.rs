//! What the engine is told at its start: the state root, and how registries are reached.

pub mod buildkitd;
mod file;

use std::path::{Path, PathBuf};

pub use kiln_registry_client::{HostConfig, Keypair, RegistryConfig};

use crate::{Error, Result};

/// A configuration file longer than this is not one.
const MAX_CONFIG_FILE: u64 = 1 << 20;

/// The engine's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The state root.
    pub root: PathBuf,
    /// How to reach registries that need more than their name, by host as in references.
    pub registries: RegistryConfig,
    /// Where specs of devices are (Container Device Interface); empty means where drivers put them.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Whether steps are given no devices.
    pub cdi_disabled: bool,
    /// Whether steps see the machine's `/proc`: in a container that hides parts of its own, the kernel mounts no other.
    pub host_proc: bool,
    /// What the `resolv.conf` of build steps says otherwise than this machine's.
    pub dns: Dns,
}

/// What takes the place of what this machine's `resolv.conf` says; an empty list leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers.
    pub nameservers: Vec<String>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
    /// Options such as `edns0`.
    pub options: Vec<String>,
}

impl Dns {
    /// This machine's text `host` with what is said here.
    pub(crate) fn apply(&self, host: String) -> String {
        let kinds = [("nameserver", &self.nameservers), ("search", &self.search), ("options", &self.options)];
        if kinds.iter().all(|(_, words)| words.is_empty()) {
            return host;
        }
        let said =
            |word: Option<&str>| kinds.iter().any(|(kind, words)| word == Some(kind) && !words.is_empty());
        let kept = host.lines().filter(|line| !said(line.split_whitespace().next()));
        let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
        text.extend(self.nameservers.iter().map(|server| format!("nameserver {server}\n")));
        for (kind, words) in &kinds[1..] {
            if !words.is_empty() {
                text += &format!("{kind} {}\n", words.join(" "));
            }
        }
        text
    }
}

/// Where drivers put the specs of their devices.
const CDI_SPEC_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

impl Config {
    /// A configuration with nothing but a state root.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Config { root: root.into(), ..Config::default() }
    }

    /// Reads what a configuration file says about registries and, where this configuration has no root, the root.
    ///
    /// An unknown key is an error that names the nearest known one, the file and the line.
    pub fn merge_file(&mut self, path: &Path) -> Result<()> {
        let text = read(path)?;
        let parsed = file::parse(&text, &path.display().to_string())?;
        if self.root.as_os_str().is_empty() {
            self.root = parsed.root.unwrap_or_default();
        }
        self.registries.extend(parsed.registries);
        if self.cdi_spec_dirs.is_empty() {
            self.cdi_spec_dirs = parsed.cdi_spec_dirs;
        }
        Ok(())
    }

    /// Where specs of devices are looked for.
    pub(crate) fn cdi_spec_dirs(&self) -> Vec<PathBuf> {
        match self.cdi_spec_dirs.is_empty() {
            _ if self.cdi_disabled => Vec::new(),
            true => CDI_SPEC_DIRS.iter().map(PathBuf::from).collect(),
            false => self.cdi_spec_dirs.clone(),
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let fail = |error: std::io::Error| {
        let kind = if error.kind() == std::io::ErrorKind::NotFound {
            crate::ErrorKind::NotFound
        } else {
            crate::ErrorKind::InvalidInput
        };
        Error::new(kind, format!("cannot read the configuration `{}`", path.display())).caused_by(error)
    };
    if std::fs::metadata(path).map_err(fail)?.len() > MAX_CONFIG_FILE {
        return Err(Error::invalid(format!("the configuration `{}` is larger than 1 MiB", path.display())));
    }
    std::fs::read_to_string(path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_are_said_take_the_place_of_the_machines() {
        let host = "# by hand\nnameserver 10.0.0.1\nsearch a.example\noptions ndots:2\n".to_owned();
        assert_eq!(Dns::default().apply(host.clone()), host);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let dns =
            Dns { nameservers: words(&["1.1.1.1", "8.8.8.8"]), options: words(&["edns0"]), ..Dns::default() };
        let expected = "# by hand\nsearch a.example\nnameserver 1.1.1.1\nnameserver 8.8.8.8\noptions edns0\n";
        assert_eq!(dns.apply(host), expected);
    }
}
