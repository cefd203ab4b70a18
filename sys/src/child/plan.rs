//! The plan of a container's first process: steps as plain values.

use std::ffi::{CString, c_char};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::StepError;
use super::walk::Failure;
use crate::seccomp::Program;

/// `CLONE_NEW*` flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(pub(super) i32);

impl Namespaces {
    /// None: the caller's.
    pub const NONE: Self = Self(0);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS);
    /// Process ids.
    pub const PID: Self = Self(libc::CLONE_NEWPID);
    /// System V and POSIX message queues and shared memory.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC);
    /// Host name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS);
    /// Network.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET);
    /// The root of the visible control groups.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP);

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags as the kernel takes them.
    pub(super) fn bits(self) -> i32 {
        self.0
    }
}

/// An open descriptor in a plan, with the words that stand for it in print.
///
/// A plan that is only printed has no descriptors: such a handle is refused by the kernel (`EBADF`).
#[derive(Clone, Debug)]
pub struct Handle {
    fd: Option<Arc<OwnedFd>>,
    pub(super) label: String,
}

impl Handle {
    /// A handle on an open descriptor.
    pub fn new(fd: impl Into<Arc<OwnedFd>>, label: impl Into<String>) -> Self {
        Self { fd: Some(fd.into()), label: label.into() }
    }

    /// A handle that can only be printed.
    pub fn unopened(label: impl Into<String>) -> Self {
        Self { fd: None, label: label.into() }
    }

    pub(super) fn raw(&self) -> i32 {
        self.fd.as_ref().map_or(-1, |fd| fd.as_raw_fd())
    }
}

/// A null-terminated array of C strings, as `execve` takes it.
#[derive(Debug)]
pub struct Arguments {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers lead into the heap buffers of `strings`, which never change and move with this value.
unsafe impl Send for Arguments {}
// SAFETY: as above; nothing is written through them.
unsafe impl Sync for Arguments {}

impl Arguments {
    /// The array of these strings.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Self { strings, pointers }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// User and groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Whether to leave the supplementary groups as they are, where nobody may choose them.
    pub keeps_groups: bool,
}

/// The program that is executed at the end.
#[derive(Debug)]
pub struct Exec {
    /// Paths to try in this order, as a shell tries `$PATH`.
    pub candidates: Vec<CString>,
    /// Arguments, the program's name first.
    pub args: Arguments,
    /// Environment.
    pub env: Arguments,
}

/// One step of the first process. Paths are those of the container from `EnterRoot` on.
#[derive(Debug)]
pub enum Step {
    /// Joins the control group whose `cgroup.procs` this is.
    JoinCgroup(Handle),
    /// Makes namespaces that must be made late.
    Unshare(Namespaces),
    /// Joins existing namespaces: of one namespace file, or several of a process by its pidfd.
    JoinNamespaces(Handle, Namespaces),
    /// Cuts mount propagation from and to the host.
    PrivateMounts,
    /// Makes the detached mount the root. The old one stays mounted over it, out of every path's way.
    EnterRoot(Handle),
    /// Lets go of the old root.
    LeaveHost,
    /// `mount(2)`.
    Mount {
        /// Device, or the path that is bound.
        source: CString,
        /// Where.
        target: CString,
        /// Type; empty for binds.
        fs_type: CString,
        /// `MS_*`.
        flags: u64,
        /// Options.
        data: CString,
    },
    /// Attaches a detached mount at a path, without stepping through magic links.
    Attach(Handle, CString),
    /// Makes the root mount read-only.
    ReadonlyRoot,
    /// Makes a directory; one that is there already is fine.
    MakeDir {
        /// Its path.
        path: CString,
        /// Its permissions.
        mode: u32,
    },
    /// Makes a device node or an empty file.
    MakeNode {
        /// Its path.
        path: CString,
        /// Type and permissions.
        mode: u32,
        /// Device number.
        device: u64,
    },
    /// Sets user and group of a file; a symbolic link is not followed.
    Owner {
        /// Its path.
        path: CString,
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// Makes a symbolic link.
    MakeLink {
        /// The text.
        target: CString,
        /// Its path.
        path: CString,
    },
    /// Writes a value into a file of `/proc/sys`.
    WriteFile {
        /// Its path.
        path: CString,
        /// The value.
        value: CString,
    },
    /// Sets the host name.
    Hostname(CString),
    /// Sets the loopback interface up.
    LoopbackUp,
    /// Becomes the leader of a session.
    NewSession,
    /// Standard input, output and error.
    Stdio([Handle; 3]),
    /// Makes standard input the controlling terminal.
    ControllingTerminal,
    /// `setrlimit`.
    Rlimit {
        /// `RLIMIT_*`.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// The permissions that new files do not get.
    Umask(u32),
    /// Takes every capability but these out of the bounding set. The second value is the kernel's last one.
    Bounding(u64, u32),
    /// Sets `no_new_privs`.
    NoNewPrivileges,
    /// Loads a system call filter.
    Seccomp(Arc<Program>),
    /// Keeps the permitted capabilities through a change of the user.
    KeepCapabilities,
    /// Changes user and groups.
    User(Ids),
    /// Sets effective and permitted capabilities; none is inheritable.
    Capabilities(u64),
    /// Sets all five sets of capabilities, so that any user's program keeps them.
    AmbientCapabilities(u64),
    /// Enters a directory and makes sure that it is inside the root.
    WorkingDirectory(CString),
    /// Dies with the thread that launched it.
    DieWithParent,
    /// Marks every descriptor from 3 on close-on-exec.
    CloseDescriptors,
    /// Executes the program.
    Exec(Box<Exec>),
}

/// What the first process of a container does, in order.
#[derive(Debug, Default)]
pub struct InitPlan {
    /// The namespaces it is cloned into.
    pub namespaces: Namespaces,
    /// The steps.
    pub steps: Vec<Step>,
}

impl InitPlan {
    /// The error behind what the child noted.
    pub(super) fn explain(&self, failure: &Failure) -> StepError {
        let step = self.steps.get(failure.step);
        let text = step.map(ToString::to_string).unwrap_or_default();
        StepError {
            subject: text.split_once(' ').map(|(_, rest)| rest.to_owned()).unwrap_or_default(),
            step: text,
            call: failure.call,
            errno: rustix::io::Errno::from_raw_os_error(failure.errno),
            is_exec: matches!(step, Some(Step::Exec(_))),
        }
    }
}
