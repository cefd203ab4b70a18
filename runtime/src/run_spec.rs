//! What to run and how, as plain data.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_sys::mount::Mount;
use serde::{Deserialize, Serialize};

use crate::cgroup::Resources;

/// One container: everything [`crate::start`] needs to know.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// Show the machine's `/proc` and not the container's own, where none may be mounted. Its processes are then seen.
    pub host_proc: bool,
    /// The container's id: the name of its cgroup.
    pub id: String,
    /// The mounts that make the root file system; the one with an empty target is the root.
    pub rootfs: Vec<Mount>,
    /// Mounts the root read-only.
    pub readonly_rootfs: bool,
    /// The first process.
    pub process: Process,
    /// The host name inside.
    pub hostname: String,
    /// What else is mounted, in this order.
    pub mounts: Vec<UserMount>,
    /// Device nodes beyond those that every container has.
    pub devices: Vec<DeviceNode>,
    /// Files that are put over those in `/etc`.
    pub etc: EtcFiles,
    /// The network it is in.
    pub network: NetworkSetup,
    /// Its limits.
    pub resources: Resources,
    /// What it is allowed to do.
    pub security: Security,
    /// Runs a small reaper as process 1 and the command below it.
    pub init: bool,
    /// The cgroup beneath which its own is made, such as `kiln/<root tag>`; empty means it gets none.
    pub cgroup_parent: String,
    /// Resource limits of the first process; what is not named is inherited.
    pub rlimits: Vec<Rlimit>,
    /// Size of `/dev/shm` in bytes; `None` means Docker's 64 MiB.
    pub shm_size: Option<u64>,
    /// Whether it can be frozen (containers can, build steps need not).
    pub freezable: bool,
}

/// A process in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`; `PATH`, `HOME` and (with a terminal) `TERM` are added where missing.
    pub env: Vec<String>,
    /// The working directory, made when it is missing; empty means `/`.
    pub cwd: String,
    /// `user[:group]` by name or number; empty means root.
    pub user: String,
    /// More groups, by name or number.
    pub groups: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
}

/// A mount that a user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMount {
    /// What is mounted.
    pub kind: MountKind,
    /// The absolute path inside; links are followed inside the root, and what is missing is made
    /// (and removed afterwards).
    pub target: String,
    /// Read-only, with everything mounted below it.
    pub readonly: bool,
    /// How later mounts spread between the host and the container.
    pub propagation: Propagation,
}

/// What a [`UserMount`] mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        source: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Size limit in bytes.
        size: Option<u64>,
        /// Permissions of its root; `None` means 1777.
        mode: Option<u32>,
        /// Whether programs in it can be executed.
        exec: bool,
    },
    /// A mount that is nowhere yet; used up by the first run.
    #[serde(skip)]
    Tree(Tree),
}

/// A detached mount, for [`MountKind::Tree`]. Two are the same if they are one descriptor.
#[derive(Clone, Debug)]
pub struct Tree(pub Arc<OwnedFd>);

impl PartialEq for Tree {
    fn eq(&self, other: &Tree) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tree {}

/// A device node that is made in the container and that its processes may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its path, below `/dev`.
    pub path: String,
    /// Its type.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// User id; `None` is the process's.
    pub uid: Option<u32>,
    /// Group id; `None` is the process's.
    pub gid: Option<u32>,
    /// What the control group allows: of `r`, `w` and `m`.
    pub access: String,
}

/// The type of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe, which needs no permission.
    Fifo,
}

/// Mount propagation of a bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Nothing spreads.
    #[default]
    Private,
    /// Mounts of the host appear inside.
    Slave,
    /// Mounts spread both ways.
    Shared,
}

/// Files of the host that are mounted over those of the same name in `/etc`; they never become part of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcFiles {
    /// For `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// For `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// For `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// Whether the container may not write to them (build steps).
    pub readonly: bool,
    /// A folder that is stacked below the root file system (see [`crate::prepare::lowest`]).
    pub lowest: Option<PathBuf>,
}

/// The network namespace of a container.
#[derive(Clone, Debug, Default)]
pub enum NetworkSetup {
    /// The host's.
    Host,
    /// A new one with nothing but loopback.
    #[default]
    None,
    /// A prepared one.
    Namespace(Arc<OwnedFd>),
}

/// What the processes may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// All capabilities and devices, nothing masked, no seccomp filter (`run --privileged`).
    pub privileged: bool,
    /// The same for a build step (`RUN --security=insecure`), where other users than root keep capabilities too.
    pub insecure: bool,
    /// Capabilities beyond the default ones, with or without `CAP_`; `ALL` means all.
    pub cap_add: Vec<String>,
    /// Capabilities to take away; `ALL` means all.
    pub cap_drop: Vec<String>,
    /// Programs cannot gain privileges by set-user-ID bits.
    pub no_new_privileges: bool,
    /// No seccomp filter (`--security-opt seccomp=unconfined`).
    pub seccomp_unconfined: bool,
}

impl Security {
    /// Whether nothing is withheld.
    pub fn is_unconfined(&self) -> bool {
        self.privileged || self.insecure
    }
}

/// A limit of `setrlimit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// The name as `--ulimit` takes it: `nofile`, `nproc`, `core`, …
    pub name: String,
    /// The soft limit; `u64::MAX` means unlimited.
    pub soft: u64,
    /// The hard limit; `u64::MAX` means unlimited.
    pub hard: u64,
}
