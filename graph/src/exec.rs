//! The operation that runs a process.

use kiln_oci::Platform;

/// Runs a process over mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOp {
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=value`, in order, without proxies.
    pub env: Vec<String>,
    /// The working directory, absolute.
    pub cwd: String,
    /// `user[:group]`, names or numbers, looked up in the root filesystem; empty is root.
    pub user: String,
    /// The hostname where the default will not do.
    pub hostname: Option<String>,
    /// Which network the process sees.
    pub network: Network,
    /// How much it may do.
    pub security: Security,
    /// Devices it asks for, by CDI name.
    pub devices: Vec<Device>,
    /// What the process runs on.
    pub platform: Platform,
    /// What the process sees; the first is always a `Bind` at `/`.
    pub mounts: Vec<Mount>,
    /// Extra lines of `/etc/hosts`. Only the names are part of the cache key.
    pub extra_hosts: Vec<ExtraHost>,
    /// Environment that is not part of the cache key: `HTTP_PROXY=…` and the like, and secrets by `env=`.
    pub proxy_env: Vec<String>,
    /// Bytes of `/dev/shm`; 0 is the default.
    pub shm_size: u64,
    /// Resource limits as `name=soft[:hard]`.
    pub ulimits: Vec<String>,
    /// Exit codes that count as success; empty is just 0.
    pub valid_exit_codes: Vec<i32>,
}

/// Which network a process sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// Its own, with a way out.
    #[default]
    Sandbox,
    /// Only a loopback.
    None,
    /// The machine's.
    Host,
}

/// How much a process may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Security {
    /// What a container may.
    #[default]
    Sandbox,
    /// Everything root may; needs an entitlement.
    Insecure,
}

/// A device that a process asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// CDI name: `vendor/class[=device]`.
    pub name: String,
    /// Whether its absence is an error.
    pub required: bool,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// The address in text.
    pub address: String,
}

/// One thing that a process sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A directory or file of an input.
    Bind {
        /// Vertex input; `None` is the empty filesystem.
        input: Option<u32>,
        /// Path inside the input; `/` is all of it.
        source: String,
        /// Path inside the container, absolute.
        target: String,
        /// Whether writing is refused. Writes to a mount without `output` are dropped.
        readonly: bool,
        /// The vertex output that the result becomes; `None` drops it.
        output: Option<u32>,
    },
    /// A directory that outlives the build.
    Cache {
        /// Vertex input that a new directory starts from; `None` is empty.
        input: Option<u32>,
        /// Path inside the input.
        source: String,
        /// Path inside the container, absolute.
        target: String,
        /// Whether writing is refused.
        readonly: bool,
        /// The directory's identity.
        id: String,
        /// What two users at once do.
        sharing: CacheSharing,
        /// Permissions of a new directory.
        mode: u32,
        /// Owner of a new directory.
        uid: u32,
        /// Group of a new directory.
        gid: u32,
    },
    /// Memory that is gone afterwards.
    Tmpfs {
        /// Path inside the container, absolute.
        target: String,
        /// Whether writing is refused.
        readonly: bool,
        /// Bytes; `None` is the kernel's default.
        size: Option<u64>,
    },
    /// A secret as a file or a variable. Its value is never part of anything kept.
    Secret {
        /// Which secret.
        id: String,
        /// Path of the file; `None` makes none.
        target: Option<String>,
        /// Name of the variable; `None` makes none.
        env: Option<String>,
        /// Whether its absence is an error.
        required: bool,
        /// Permissions of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// A socket that leads to an agent of whoever asked.
    Ssh {
        /// Which agent.
        id: String,
        /// Path of the socket, absolute.
        target: String,
        /// Whether its absence is an error.
        required: bool,
        /// Permissions of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// What two users of one cache directory at once do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheSharing {
    /// Use it together.
    #[default]
    Shared,
    /// The second gets a directory of its own.
    Private,
    /// The second waits.
    Locked,
}

impl Mount {
    /// The root filesystem: input 0 (or the empty one), writable, becomes output 0.
    pub fn root(input: Option<u32>) -> Self {
        let (source, target) = ("/".to_owned(), "/".to_owned());
        Mount::Bind { input, source, target, readonly: false, output: Some(0) }
    }

    /// The vertex input that the mount shows.
    pub fn input(&self) -> Option<u32> {
        match self {
            Mount::Bind { input, .. } | Mount::Cache { input, .. } => *input,
            Mount::Tmpfs { .. } | Mount::Secret { .. } | Mount::Ssh { .. } => None,
        }
    }

    /// The path inside the container, where there is one.
    pub fn target(&self) -> Option<&str> {
        match self {
            Mount::Bind { target, .. }
            | Mount::Cache { target, .. }
            | Mount::Tmpfs { target, .. }
            | Mount::Ssh { target, .. } => Some(target),
            Mount::Secret { target, .. } => target.as_deref(),
        }
    }

    /// `bind`, `cache`, `tmpfs`, `secret` or `ssh`.
    pub fn kind(&self) -> &'static str {
        match self {
            Mount::Bind { .. } => "bind",
            Mount::Cache { .. } => "cache",
            Mount::Tmpfs { .. } => "tmpfs",
            Mount::Secret { .. } => "secret",
            Mount::Ssh { .. } => "ssh",
        }
    }
}

impl ExecOp {
    /// A process over `root` with nothing else set.
    pub fn new(args: Vec<String>, platform: Platform, root: Option<u32>) -> Self {
        ExecOp {
            args,
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: None,
            network: Network::default(),
            security: Security::default(),
            devices: Vec::new(),
            platform,
            mounts: vec![Mount::root(root)],
            extra_hosts: Vec::new(),
            proxy_env: Vec::new(),
            shm_size: 0,
            ulimits: Vec::new(),
            valid_exit_codes: Vec::new(),
        }
    }

    /// One more than the highest output that a mount becomes.
    pub(crate) fn outputs(&self) -> u32 {
        let output = |mount: &Mount| match mount {
            Mount::Bind { output, .. } => *output,
            _ => None,
        };
        self.mounts.iter().filter_map(output).max().map_or(0, |highest| highest.saturating_add(1))
    }
}
