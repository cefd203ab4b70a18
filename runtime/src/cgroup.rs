//! Control groups: limits, accounting and the certain death of everything in a container.
//!
//! Creating and joining a version 1 controller costs some 35 µs, so a group is made only where it serves: `devices`
//! (the device rule), `pids` (listing, killing and the limit), `memory` (the limit, and knowing that the kernel
//! killed for memory), `cpu` when CPUs are limited, and for what can be paused one that freezes. On version 2 it is
//! one directory, and the device rule is a BPF program.

mod devices;
mod layout;
mod limits;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_sys::{process, user_namespace};

use layout::Layout;
use limits::Setting;

/// How long the processes of a killed group may take to go, and an empty group to be let go of.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to sleep between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// The controllers that every container gets on version 1, where they exist.
const BASE_CONTROLLERS: [&str; 3] = ["devices", "pids", "memory"];

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

impl Resources {
    /// The word for a limit that there is.
    fn first(&self) -> Option<&'static str> {
        let Resources { memory, memory_swap, nano_cpus, pids } = self;
        let is_set = [
            ("memory", memory.is_some()),
            ("memory and swap", memory_swap.is_some()),
            ("CPUs", nano_cpus.is_some()),
            ("processes", pids.is_some_and(|most| most > 0)),
        ];
        is_set.into_iter().find_map(|(word, is_set)| is_set.then_some(word))
    }
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
pub struct Options<'a> {
    /// The device rule.
    pub devices: Devices,
    /// More devices that may be opened, as the kernel writes them: `c 10:229 rwm`.
    pub allowed: &'a [String],
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
    /// A limit was asked for where no group can be made.
    #[error("the limit of {0} cannot be kept: control groups are not for this user")]
    Unkept(&'static str),
    /// Processes in the group survived `SIGKILL` for too long.
    #[error("cgroup `{0}` still has processes")]
    Busy(PathBuf),
}

impl Error {
    /// Whether this user may not do it, or the host has nothing to do it with.
    fn is_refused(&self) -> bool {
        use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
        match self {
            Error::Io { source, .. } => {
                matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem | NotFound)
            }
            Error::NoController(_) => true,
            Error::Busy(_) | Error::Unkept(_) => false,
        }
    }

    fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::Io { action, path: path.into(), source }
    }
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
    pub fn create(parent: &str, id: &str, resources: &Resources, options: Options<'_>) -> Result<Cgroup> {
        let layout = Layout::of_host()?;
        let relative = Path::new(parent).join(id);
        let (mounts, settings) = if layout.is_unified() {
            (delegate(layout, parent)?, limits::v2(resources))
        } else {
            let settings = limits::v1(resources);
            (v1_mounts(layout, &settings, options)?, settings)
        };
        let mut cgroup = Cgroup { paths: Vec::new(), procs: Vec::new() };
        let created = cgroup.fill(&mounts, &relative, &settings, options);
        if created.is_err() {
            let _ = cgroup.remove();
        }
        created.map(|()| cgroup)
    }

    /// [`Cgroup::create`] where that is possible. Somebody who is not root of the machine may have no group, and then no
    /// limits: one that was asked for is an error.
    pub fn create_if_allowed(
        parent: &str,
        id: &str,
        resources: &Resources,
        options: Options<'_>,
    ) -> Result<Option<Cgroup>> {
        match Cgroup::create(parent, id, resources, options) {
            Err(error) if error.is_refused() && user_namespace::is_confined() => match resources.first() {
                Some(limit) => Err(Error::Unkept(limit)),
                None => Ok(None),
            },
            other => other.map(Some),
        }
    }

    fn fill(
        &mut self,
        mounts: &[&Path],
        relative: &Path,
        settings: &[Setting],
        options: Options<'_>,
    ) -> Result<()> {
        for mount in mounts {
            let path = mount.join(relative);
            std::fs::create_dir_all(&path).map_err(|cause| Error::io("create", &path, cause))?;
            self.paths.push(path);
        }
        self.apply(settings)?;
        // In a user namespace nobody may say which devices are used, and nobody can make one.
        match self.limit_devices(options) {
            Err(error) if error.is_refused() && user_namespace::is_confined() => {}
            other => other?,
        }
        self.procs = open_procs(&self.paths)?;
        Ok(())
    }

    /// Says which devices may be used: line by line to version 1, else by a program on the one directory of version 2.
    fn limit_devices(&self, options: Options<'_>) -> Result<()> {
        if self.file("devices.allow").is_some() {
            for (file, rule) in limits::v1_device_rules(options.devices) {
                self.write(file, rule)?;
            }
            return options.allowed.iter().try_for_each(|rule| self.write("devices.allow", rule));
        }
        let Some(path) = self.paths.first().filter(|_| options.devices == Devices::Default) else {
            return Ok(());
        };
        let failed = |cause: io::Error| Error::io("limit the devices of", path, cause);
        let lines = limits::DEFAULT_DEVICES.into_iter().chain(options.allowed.iter().map(String::as_str));
        let program = devices::program(&lines.collect::<Vec<_>>());
        let program = program.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let directory = std::fs::File::open(path).map_err(failed)?;
        kiln_sys::bpf::limit_devices(directory.as_fd(), &program).map_err(|cause| failed(cause.into()))
    }

    fn apply(&self, settings: &[Setting]) -> Result<()> {
        for setting in settings {
            match self.file(setting.file) {
                Some(path) => write(&path, &setting.value)?,
                None if setting.optional => {}
                None => return Err(Error::NoController(setting.controller)),
            }
        }
        Ok(())
    }

    /// Opens the existing group with these directories (see [`Cgroup::paths`]), to join or signal it.
    pub fn open(paths: &[PathBuf]) -> Result<Cgroup> {
        Ok(Cgroup { paths: paths.to_vec(), procs: open_procs(paths)? })
    }

    /// The group's directory in each hierarchy: all that another process needs to find it again.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The files (write-only, close-on-exec) into which the child writes `0` to join.
    ///
    /// The child, which has one thread, does so before it unshares its cgroup namespace, so that the namespace's root is this group.
    pub fn procs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.procs.iter().map(|fd| fd.as_fd())
    }

    /// The process ids in the group.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let Some(path) = self.file("cgroup.procs") else { return Ok(Vec::new()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(error) => Err(Error::io("read", path, error)),
        }
    }

    /// Kills every process in the group and waits (bounded) until none is left.
    pub fn kill_all(&self) -> Result<()> {
        if self.pids()?.is_empty() {
            return Ok(());
        }
        match self.file("cgroup.kill") {
            Some(path) => write(&path, "1")?,
            // Nothing new can be forked while the rest is hunted down.
            None => drop(self.write("pids.max", "0")),
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.signal_all(SIGKILL)?;
            // A frozen process of version 1 dies when it thaws.
            drop(self.write("freezer.state", "THAWED"));
            if self.pids()?.is_empty() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::Busy(self.paths.first().cloned().unwrap_or_default()))
    }

    /// Kills what belongs to a session of processes in the group, but for its leader, and waits (bounded) until none of it is
    /// left. Only a leader that is there and stopped makes sure that nothing new comes.
    pub(crate) fn kill_followers(&self, leader: u32) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut left = self.pids()?;
            left.retain(|pid| *pid != leader && session_of(*pid) == Some(leader));
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Busy(self.paths.first().cloned().unwrap_or_default()));
            }
            for pid in left {
                // Its number may be another's by now; a descriptor's is not.
                if let Ok(pidfd) = process::pidfd_open(pid)
                    && session_of(pid) == Some(leader)
                {
                    drop(process::pidfd_send_signal(pidfd.as_fd(), SIGKILL));
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends a signal to every process in the group.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        for pid in self.pids()? {
            // One that ended meanwhile needs no signal.
            if let Ok(pidfd) = process::pidfd_open(pid) {
                drop(process::pidfd_send_signal(pidfd.as_fd(), signal));
            }
        }
        Ok(())
    }

    /// Stops every process in the group; it must have been made freezable.
    pub fn freeze(&self) -> Result<()> {
        if self.file("cgroup.freeze").is_some() {
            self.write("cgroup.freeze", "1")?;
            return self.wait_for("cgroup.events", "frozen 1");
        }
        self.write("freezer.state", "FROZEN")?;
        self.wait_for("freezer.state", "FROZEN")
    }

    /// Lets a frozen group run again.
    pub fn thaw(&self) -> Result<()> {
        match self.file("cgroup.freeze") {
            Some(path) => write(&path, "0"),
            None => self.write("freezer.state", "THAWED"),
        }
    }

    /// Whether the kernel's out-of-memory killer struck in the group.
    pub fn oom_killed(&self) -> bool {
        ["memory.oom_control", "memory.events"].iter().any(|name| {
            let text =
                self.file(name).and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            count.is_some_and(|count| count.trim() != "0")
        })
    }

    /// Removes the empty group; retries for a bounded time while the kernel still lets go of its processes.
    pub fn remove(&self) -> Result<()> {
        self.paths.iter().try_for_each(|path| remove_group(path))
    }

    /// The path of a file that only one of the hierarchies has.
    fn file(&self, name: &str) -> Option<PathBuf> {
        self.paths.iter().map(|path| path.join(name)).find(|path| path.exists())
    }

    fn write(&self, name: &'static str, value: &str) -> Result<()> {
        let missing = || Error::io("write", name, io::ErrorKind::NotFound.into());
        write(&self.file(name).ok_or_else(missing)?, value)
    }

    fn wait_for(&self, name: &'static str, wanted: &str) -> Result<()> {
        let path = self.file(name).unwrap_or_default();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let text = std::fs::read_to_string(&path).map_err(|cause| Error::io("read", &path, cause))?;
            if text.lines().any(|line| line == wanted) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::Busy(path))
    }
}

/// As signal(7) numbers it, on every architecture.
pub(crate) const SIGKILL: i32 = 9;

/// The session that a process belongs to, if it has not ended (proc_pid_stat(5)).
fn session_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let is_alive = fields.next().is_some_and(|state| !matches!(state, "Z" | "X"));
    fields.nth(2)?.parse().ok().filter(|_| is_alive)
}

/// Kills and removes what a crashed process left in the group `path` (`parent/id`), in every hierarchy.
pub fn cleanup(path: &Path) -> Result<()> {
    let mounts = Layout::of_host()?.mounts();
    let paths: Vec<PathBuf> = mounts.map(|mount| mount.join(path)).filter(|path| path.is_dir()).collect();
    let cgroup = Cgroup { paths, procs: Vec::new() };
    cgroup.kill_all()?;
    cgroup.remove()
}

/// The version 1 hierarchies that a container needs.
fn v1_mounts<'a>(layout: &'a Layout, settings: &[Setting], options: Options) -> Result<Vec<&'a Path>> {
    let mut mounts: Vec<&Path> = Vec::new();
    let mut add = |mount: &'a PathBuf| {
        if !mounts.contains(&mount.as_path()) {
            mounts.push(mount);
        }
    };
    BASE_CONTROLLERS.iter().filter_map(|name| layout.v1.get(*name)).for_each(&mut add);
    for setting in settings {
        add(layout.v1.get(setting.controller).ok_or(Error::NoController(setting.controller))?);
    }
    if options.freezable {
        // A bare version 2 hierarchy could freeze, too, but joining it costs 16 ms: only version 1 is mounted with
        // `favordynmods`, without which moving a process waits for an RCU grace period.
        add(layout.v1.get("freezer").or(layout.v2.as_ref()).ok_or(Error::NoController("freezer"))?);
    }
    Ok(mounts)
}

/// Lets the groups beneath `parent` use the controllers of version 2. What the host does not delegate stays off;
/// only a limit that needs it fails.
fn delegate<'a>(layout: &'a Layout, parent: &str) -> Result<Vec<&'a Path>> {
    let mount = layout.v2.as_deref().ok_or(Error::NoController("cgroup2"))?;
    let directory = mount.join(parent);
    std::fs::create_dir_all(&directory).map_err(|cause| Error::io("create", &directory, cause))?;
    let levels = directory.ancestors().take_while(|level| level.starts_with(mount));
    for level in levels.collect::<Vec<_>>().into_iter().rev() {
        for controller in ["memory", "pids", "cpu"] {
            drop(write(&level.join("cgroup.subtree_control"), &format!("+{controller}")));
        }
    }
    Ok(vec![mount])
}

/// Joins go through `tasks` where there is one, as on version 1: a thread that moves itself, and nothing else, takes no
/// lock that every fork on the machine takes. Taking that lock waits for the kernel's readers (RCU), milliseconds each time.
fn open_procs(paths: &[PathBuf]) -> Result<Vec<OwnedFd>> {
    let writable = |path: &Path| OpenOptions::new().write(true).open(path);
    let open = |directory: &PathBuf| {
        let path = directory.join("cgroup.procs");
        let file = match writable(&directory.join("tasks")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => writable(&path),
            result => result,
        };
        file.map(OwnedFd::from).map_err(|cause| Error::io("open", path, cause))
    };
    paths.iter().map(open).collect()
}

fn write(path: &Path, value: &str) -> Result<()> {
    use io::Write;
    let mut file =
        OpenOptions::new().write(true).open(path).map_err(|cause| Error::io("open", path, cause))?;
    file.write_all(value.as_bytes()).map_err(|cause| Error::io("write", path, cause))
}

/// A group that was removed meanwhile: absent, or with open files that lead nowhere.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(kiln_sys::Errno::NODEV.raw_os_error())
}

/// Removes a group and those that its processes made beneath it.
fn remove_group(path: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match std::fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                remove_children(path)?;
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(Error::io("remove", path, error)),
        }
    }
}

fn remove_children(path: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    let mut directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.try_for_each(|entry| remove_group(&entry.path()))
}
