//! The parent's side of a container's life.

use std::os::fd::OwnedFd;

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::run_spec::RunSpec;

/// Where a process reads and writes.
#[derive(Debug, Default)]
pub enum Stdio {
    /// `/dev/null`.
    #[default]
    Null,
    /// The caller's own.
    Inherit,
    /// These descriptors.
    Fds {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal of the container; its master is [`Running::master`].
    Pty {
        /// Its first size.
        size: Option<WindowSize>,
    },
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// The exit code, 128 plus the signal if one ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
}

impl ExitStatus {
    /// Whether the code is zero.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

/// A container (or a process added to one) that was started. Dropping it kills what still runs in it.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    master: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
}

impl Running {
    /// The process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The terminal's master side, once, if there is a terminal.
    pub fn take_master(&mut self) -> Option<OwnedFd> {
        self.master.take()
    }

    /// Its control group.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Sends a signal to the first process.
    pub fn kill(&self, _signal: i32) -> Result<()> {
        Ok(())
    }

    /// A handle that sends signals while somebody else waits.
    pub fn killer(&self) -> Killer {
        Killer {}
    }

    /// Waits for the end of the first process, kills and removes what is left of the container.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Err(Error::Invalid("the launcher is not built yet".to_owned()))
    }
}

/// Sends signals to a container's first process.
#[derive(Clone, Debug)]
pub struct Killer {}

impl Killer {
    /// Sends a signal; a process that has ended is fine.
    pub fn kill(&self, _signal: i32) -> Result<()> {
        Ok(())
    }
}

/// Starts a container.
pub fn start(_spec: RunSpec, _stdio: Stdio) -> Result<Running> {
    Err(Error::Invalid("the launcher is not built yet".to_owned()))
}
