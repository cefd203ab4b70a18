//! Containers: create, start, stop, list and what else is done to one.

mod create;
pub mod files;
mod health;
mod lifecycle;
mod look;
mod names;
mod preview;
mod record;
mod remove;
pub(crate) mod signal;
mod standby;
mod start;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Engine;
pub(crate) use create::{merge_env, mount_point as create_mount_point};
pub use health::{Health, HealthResult, HealthStatus, Healthcheck};
pub(crate) use names::check as check_name;
pub use names::new_id;
pub use preview::Preview;
pub(crate) use record::{Record, Records, directory, is_supervised, lock_path, now};
pub use standby::Standby;
pub(crate) use start::connect;

/// A mount that a container asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// What is mounted.
    pub kind: MountKind,
    /// The absolute path in the container.
    pub target: String,
    /// Whether the container may not write there.
    pub readonly: bool,
}

/// What a container mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A host path. `create`: make a directory there if nothing is (`-v` does, `--mount` does not).
    Bind {
        /// The absolute host path.
        source: String,
        /// Whether a missing source is made as a directory.
        create: bool,
    },
    /// A named volume, or a fresh anonymous one; filled from the image when it is empty.
    Volume {
        /// The volume's name; `None` is an anonymous one.
        name: Option<String>,
    },
    /// Memory.
    Tmpfs {
        /// Bytes at most.
        size: Option<u64>,
        /// Permission bits; 1777 where `None`.
        mode: Option<u32>,
    },
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A container's port that the host serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// The host address; `None` is every address.
    pub host_ip: Option<IpAddr>,
    /// The host port; `None` takes a free one.
    pub host_port: Option<u16>,
    /// The port in the container.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A published port of a running container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host address, `0.0.0.0` for every one.
    pub host_ip: IpAddr,
    /// The host port.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Which network a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// The bridge `kiln0`.
    #[default]
    Bridge,
    /// The host's own.
    Host,
    /// Loopback alone.
    None,
}

/// What happens when a container's program ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It starts again.
    Always,
    /// It starts again unless somebody stopped it.
    UnlessStopped,
    /// It starts again after a failure, `max` times (0: without end).
    OnFailure {
        /// How often at most; 0 is without end.
        max: u32,
    },
}

/// What `create` takes: image, program and the options of `kiln create` as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerOptions {
    /// The image, which must be in the store (see `Images::ensure`): a reference or an id.
    pub image: String,
    /// Which image of an index, `os/architecture[/variant]`; `None` is this machine's, else the first that is here.
    #[serde(default)]
    pub platform: Option<String>,
    /// Arguments after the image; empty takes the image's.
    pub command: Vec<String>,
    /// `None` takes the image's, `Some([])` clears it.
    pub entrypoint: Option<Vec<String>>,
    /// The name; `None` makes one up.
    pub name: Option<String>,
    /// `NAME=value`, after the image's.
    pub env: Vec<String>,
    /// Labels, after the image's.
    pub labels: Vec<(String, String)>,
    /// `user[:group]`; `None` takes the image's.
    pub user: Option<String>,
    /// The working directory; `None` takes the image's.
    pub working_dir: Option<String>,
    /// The host name; `None` is the short id.
    pub hostname: Option<String>,
    /// Whether a terminal is allocated.
    pub tty: bool,
    /// Whether standard input stays open.
    pub open_stdin: bool,
    /// Whether the container is removed when it ends.
    pub auto_remove: bool,
    /// Whether a small init runs as process 1.
    pub init: bool,
    /// Whether the root filesystem is read-only.
    pub read_only: bool,
    /// All capabilities, devices and paths.
    pub privileged: bool,
    /// Capabilities beyond the default ones, `CAP_` optional, `ALL` allowed.
    pub cap_add: Vec<String>,
    /// Capabilities less than the default ones.
    pub cap_drop: Vec<String>,
    /// Mounts beside the image's volumes.
    pub mounts: Vec<MountRequest>,
    /// Published ports.
    pub ports: Vec<PortRequest>,
    /// Whether every exposed port is published on a free one.
    pub publish_all: bool,
    /// The network.
    pub network: NetworkMode,
    /// `(name, address)` lines for `/etc/hosts`; the address may be `host-gateway`.
    pub add_hosts: Vec<(String, String)>,
    /// Bytes of memory at most.
    pub memory: Option<u64>,
    /// CPUs at most, in thousand-millionths.
    pub nano_cpus: Option<u64>,
    /// Processes at most; 0 or less is unlimited.
    pub pids_limit: Option<i64>,
    /// The control group that the container's own is made in, a path from the top; `None` is one of kiln's.
    #[serde(default)]
    pub cgroup_parent: Option<String>,
    /// What happens when the program ends.
    pub restart: RestartPolicy,
    /// The signal that asks the program to end; `None` takes the image's or SIGTERM.
    pub stop_signal: Option<String>,
    /// How long `stop` waits; `None` is 10 seconds.
    pub stop_timeout: Option<Duration>,
    /// How the program is asked whether it is well; `None` takes the image's.
    #[serde(default)]
    pub health: Option<Healthcheck>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Made, never started.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// Its program is frozen.
    Paused,
    /// Between two runs.
    Restarting,
    /// Its program ended.
    Exited,
    /// Being removed.
    Removing,
    /// Its state is broken; it can only be removed.
    Dead,
}

impl Status {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Removing => "removing",
            Status::Dead => "dead",
        }
    }
}

/// A container's state now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it is in its life.
    pub status: Status,
    /// The process id on the host, while it runs.
    pub pid: Option<u32>,
    /// The process id of its supervisor, while there is one.
    pub supervisor_pid: Option<u32>,
    /// The last exit code.
    pub exit_code: i32,
    /// Whether the kernel killed it for its memory.
    pub oom_killed: bool,
    /// Why it did not start; empty where it did.
    pub error: String,
    /// When it last started, RFC 3339.
    pub started_at: Option<String>,
    /// When it last ended, RFC 3339.
    pub finished_at: Option<String>,
    /// How often its restart policy started it.
    pub restart_count: u32,
    /// Whether its program is well, where it is asked.
    #[serde(default)]
    pub health: Option<Health>,
}

/// A mount that a container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    /// The volume's name.
    pub name: Option<String>,
    /// The host path; empty for a tmpfs.
    pub source: String,
    /// The path in the container.
    pub target: String,
    /// Whether it may not write there.
    pub readonly: bool,
}

/// A container as lists and `inspect` show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// 64 hex characters.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The image's id, a digest.
    pub image_id: String,
    /// Program and arguments as they run.
    pub args: Vec<String>,
    /// Environment, labels, user and so on with the image's values filled in.
    pub options: ContainerOptions,
    /// Its state now.
    pub state: State,
    /// Published ports while it runs.
    pub ports: Vec<PublishedPort>,
    /// Ports the image or `--expose` names, such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// Its address on the bridge while it runs.
    pub address: Option<IpAddr>,
    /// The bridge's address, which is its gateway.
    pub gateway: Option<IpAddr>,
    /// The log file on the host.
    pub log_path: String,
}

/// Which containers `list` gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Those that do not run, too.
    pub all: bool,
}

/// How `remove` goes about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes, too.
    pub volumes: bool,
}

/// What `top` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessTable {
    /// Column titles, as `ps -ef` has them.
    pub titles: Vec<String>,
    /// One row a process.
    pub rows: Vec<Vec<String>>,
}

/// The containers of a state root.
#[derive(Debug, Clone, Copy)]
pub struct Containers<'a> {
    pub(crate) engine: &'a Engine,
}
