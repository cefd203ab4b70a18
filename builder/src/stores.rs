//! The handles that steps work with, and the network that a step's process gets.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_graph::{ExtraHost, Network};
use kiln_registry_client::Client;
use kiln_runtime::{EtcFiles, Executor, NetworkSetup};

/// The handles that steps work with. One a process and state root.
#[derive(Clone)]
pub struct Stores {
    /// What is remembered on disk.
    pub store: Arc<Store>,
    /// The way to registries.
    pub client: Client,
    /// What runs processes.
    pub executor: Arc<dyn Executor>,
    /// What gives them a network.
    pub network: Arc<dyn SandboxNetwork>,
    /// The cgroup beneath which steps get theirs, for example `kiln/<root tag>`.
    pub cgroup_parent: String,
    /// Whether steps see the machine's `/proc`, where none of their own may be mounted.
    pub host_proc: bool,
    /// Where CDI specs are, a later directory before an earlier one.
    pub cdi_dirs: Vec<PathBuf>,
}

/// Gives processes of steps a network and the files in `/etc` that belong to it.
pub trait SandboxNetwork: Send + Sync {
    /// Gets a network ready. Blocking; called for each step, so a pool behind it pays off.
    fn acquire(&self, request: &SandboxRequest<'_>) -> Result<Sandbox, NetworkError>;
}

/// What network a step wants.
#[derive(Debug, Clone, Copy)]
pub struct SandboxRequest<'a> {
    /// Which kind.
    pub network: Network,
    /// The process's own name, for `/etc/hosts` and `/etc/hostname`.
    pub hostname: &'a str,
    /// More lines of `/etc/hosts`.
    pub extra_hosts: &'a [ExtraHost],
    /// Whether the process lacks the capabilities to change its network, so that another step may have it afterwards.
    pub is_confined: bool,
}

/// A network that is ready, until this is dropped.
pub struct Sandbox {
    /// What the process is put in.
    pub network: NetworkSetup,
    /// What is bind-mounted over its `/etc`.
    pub etc: EtcFiles,
    /// Gives the network back when dropped.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
#[error("network of the step: {message}")]
pub struct NetworkError {
    /// What failed.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The network without a network: the machine's for `host`, a bare loopback for everything else, no files in `/etc`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BareNetwork;

impl SandboxNetwork for BareNetwork {
    fn acquire(&self, request: &SandboxRequest<'_>) -> Result<Sandbox, NetworkError> {
        let network = match request.network {
            Network::Host => NetworkSetup::Host,
            Network::Sandbox | Network::None => NetworkSetup::None,
        };
        Ok(Sandbox { network, etc: EtcFiles::default(), guard: Box::new(()) })
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("cgroup_parent", &self.cgroup_parent).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("network", &self.network).finish_non_exhaustive()
    }
}
