//! One more process in a running container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::launch::{Running, Stdio};
use crate::run_spec::{Process, Rlimit, Security};

/// What another process must know of a running container to join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// The first process, as the host numbers it.
    pub pid: u32,
    /// The control group's directories ([`crate::cgroup::Cgroup::paths`]).
    pub cgroup_paths: Vec<PathBuf>,
    /// What its processes may do.
    pub security: Security,
    /// Resource limits of its processes.
    pub rlimits: Vec<Rlimit>,
}

/// Runs `process` in the container's namespaces and control group, with its restrictions.
pub fn exec(_target: &ContainerState, _process: Process, _stdio: Stdio) -> Result<Running> {
    Err(Error::Invalid("exec is not built yet".to_owned()))
}
