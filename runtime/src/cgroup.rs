//! Control groups: limits, accounting and the certain death of everything in a container.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a container may use; `None` means unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together, as Docker counts it; `None` allows twice `memory`.
    pub memory_swap: Option<u64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<i64>,
}

/// Which device nodes the processes may open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// Docker's default list.
    #[default]
    Default,
    /// Every device (privileged containers and insecure build steps).
    All,
}

/// What to create besides the limits themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The device rule.
    pub devices: Devices,
    /// Whether the group must be able to freeze (containers, not build steps).
    pub freezable: bool,
}

/// Why a control group operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the cgroup file system refused.
    #[error("{action} cgroup `{path}`: {source}")]
    Io {
        /// The verb: `create`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A limit was asked for whose controller is not there.
    #[error("the `{0}` cgroup controller is not available on this host")]
    NoController(&'static str),
    /// Processes in the group survived `SIGKILL` for too long.
    #[error("cgroup `{0}` still has processes")]
    Busy(PathBuf),
}

/// The result of a control group operation.
pub type Result<T> = std::result::Result<T, Error>;

/// One container's control group in every hierarchy it needs.
#[derive(Debug)]
pub struct Cgroup {
    paths: Vec<PathBuf>,
    procs: Vec<OwnedFd>,
}

impl Cgroup {
    /// Creates the group `parent/id` with its limits.
    pub fn create(_parent: &str, _id: &str, _resources: &Resources, _options: Options) -> Result<Cgroup> {
        Err(Error::NoController("skeleton"))
    }
    /// Opens the existing group with these directories (see [`Cgroup::paths`]), to join or signal it.
    pub fn open(_paths: &[PathBuf]) -> Result<Cgroup> {
        Err(Error::NoController("skeleton"))
    }
    /// The group's directory in each hierarchy: all that another process needs to find it again.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
    /// The `cgroup.procs` files (write-only, close-on-exec) into which the child writes `0`.
    ///
    /// The child does so before it unshares its cgroup namespace, so that the namespace's root is this group.
    pub fn procs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.procs.iter().map(|fd| fd.as_fd())
    }
    /// The process ids in the group.
    pub fn pids(&self) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }
    /// Kills every process in the group and waits (bounded) until none is left.
    pub fn kill_all(&self) -> Result<()> {
        Ok(())
    }
    /// Sends a signal to every process in the group.
    pub fn signal_all(&self, _signal: i32) -> Result<()> {
        Ok(())
    }
    /// Stops every process in the group.
    pub fn freeze(&self) -> Result<()> {
        Ok(())
    }
    /// Lets a frozen group run again.
    pub fn thaw(&self) -> Result<()> {
        Ok(())
    }
    /// Whether the kernel's out-of-memory killer struck in the group.
    pub fn oom_killed(&self) -> bool {
        false
    }
    /// Removes the empty group; retries for a bounded time while the kernel still lets go of its processes.
    pub fn remove(&self) -> Result<()> {
        Ok(())
    }
}

/// Kills and removes what a crashed process left in the group `path` (`parent/id`), in every hierarchy.
pub fn cleanup(_path: &Path) -> Result<()> {
    Ok(())
}
