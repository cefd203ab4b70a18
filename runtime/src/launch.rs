//! The parent's side of a container's life.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use kiln_sys::child::{InitPlan, StepError};
use kiln_sys::process::{self, WaitStatus};
pub use kiln_sys::pty::WindowSize;

use crate::cgroup::{self, Cgroup, Devices, SIGKILL};
use crate::error::{Error, Preparing, Result};
use crate::plan;
use crate::prepare::{self, program, stubs::Stubs};
use crate::run_spec::{DeviceKind, DeviceNode, RunSpec};

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
    /// A terminal of the container; its master is [`Running::take_master`].
    Pty {
        /// Its first size.
        size: Option<WindowSize>,
    },
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
    pidfd: Arc<OwnedFd>,
    keeper: Option<JoinHandle<kiln_sys::Result<WaitStatus>>>,
    master: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
    stubs: Stubs,
    status: Option<ExitStatus>,
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

    /// Its control group; `None` for a process added to a container.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Sends a signal to the first process; one that has ended is fine.
    pub fn kill(&self, signal: i32) -> Result<()> {
        send(&self.pidfd, signal)
    }

    /// A descriptor that is readable when the first process has ended; to be polled, not waited for.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// A handle that sends signals while somebody else waits.
    pub fn killer(&self) -> Killer {
        Killer { pidfd: Arc::clone(&self.pidfd) }
    }

    /// Waits for the end of the first process, with which everything in the container ends, and removes
    /// the control group and the mount points that were made.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let Some(keeper) = self.keeper.take() else {
            return Err(Error::Invalid("the container's end is unknown".to_owned()));
        };
        let ended = keeper.join().map_err(|_| Error::Invalid("the waiting thread panicked".to_owned()))?;
        let ended = ended.preparing(|| format!("wait for process {}", self.pid))?;
        let oom_killed = self.cgroup.as_ref().is_some_and(Cgroup::oom_killed);
        let signal = match ended {
            WaitStatus::Signaled(signal) => Some(signal),
            WaitStatus::Exited(_) => None,
        };
        let status = ExitStatus { code: ended.code(), signal, oom_killed };
        self.status = Some(status);
        self.clean_up()?;
        Ok(status)
    }

    pub(crate) fn with_master(mut self, master: Option<OwnedFd>) -> Self {
        self.master = master;
        self
    }

    fn clean_up(&mut self) -> Result<()> {
        self.stubs.remove();
        match self.cgroup.take() {
            Some(cgroup) => Ok(remove_cgroup(&cgroup)?),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.keeper.is_some() {
            let _ = self.kill(SIGKILL);
            let _ = self.wait();
        }
    }
}

/// Sends signals to a container's first process.
#[derive(Clone, Debug)]
pub struct Killer {
    pidfd: Arc<OwnedFd>,
}

impl Killer {
    /// Sends a signal; a process that has ended is fine.
    pub fn kill(&self, signal: i32) -> Result<()> {
        send(&self.pidfd, signal)
    }
}

fn send(pidfd: &OwnedFd, signal: i32) -> Result<()> {
    match process::pidfd_send_signal(pidfd.as_fd(), signal) {
        Err(error) if error.errno == kiln_sys::Errno::SRCH => Ok(()),
        other => other.preparing(|| "signal the container".to_owned()),
    }
}

/// Starts a container.
pub fn start(spec: RunSpec, stdio: Stdio) -> Result<Running> {
    // The id names folders from here on.
    prepare::validate(&spec)?;
    let cgroup = create_cgroup(&spec)?;
    let result = start_in(&spec, stdio, cgroup.as_ref());
    match result {
        Ok(mut running) => {
            running.cgroup = cgroup;
            Ok(running)
        }
        Err(error) => {
            if let Some(cgroup) = cgroup {
                // The first error is the one to tell.
                let _ = remove_cgroup(&cgroup);
            }
            Err(error)
        }
    }
}

fn start_in(spec: &RunSpec, stdio: Stdio, cgroup: Option<&Cgroup>) -> Result<Running> {
    let mut prepared = prepare::prepare(spec, stdio, cgroup)?;
    let plan = plan::of(spec, prepared.resolved)?;
    match keep(plan, None) {
        Ok(mut running) => {
            running.master = prepared.master;
            running.stubs = prepared.stubs;
            Ok(running)
        }
        Err(error) => {
            prepared.stubs.remove();
            Err(explain(error, &spec.process.args, prepared.foreign))
        }
    }
}

/// Launches on a thread that then waits: the process dies with the thread that cloned it.
pub(crate) fn keep(
    plan: InitPlan,
    pid_namespace: Option<OwnedFd>,
) -> std::result::Result<Running, StepError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let keeper = std::thread::Builder::new().name("kiln-keeper".to_owned()).stack_size(128 * 1024);
    let keeper = keeper.spawn(move || {
        let launched = join_pids(pid_namespace).and_then(|()| kiln_sys::child::launch(&plan));
        // Mounts of the container are alive as long as the plan's descriptors are.
        drop(plan);
        match launched {
            Ok(child) => {
                let pidfd = Arc::new(child.pidfd);
                let _ = sender.send(Ok((child.pid, Arc::clone(&pidfd))));
                process::wait(pidfd.as_fd())
            }
            Err(error) => {
                let _ = sender.send(Err(error));
                Ok(WaitStatus::Exited(125))
            }
        }
    });
    let gone = |call, errno| StepError::outside("launch", call, errno);
    let keeper = keeper
        .map_err(|e| gone("clone", kiln_sys::Errno::from_io_error(&e).unwrap_or(kiln_sys::Errno::AGAIN)))?;
    let (pid, pidfd) = receiver.recv().map_err(|_| gone("clone", kiln_sys::Errno::CHILD))??;
    let keeper = Some(keeper);
    Ok(Running { pid, pidfd, keeper, master: None, cgroup: None, stubs: Stubs::default(), status: None })
}

fn join_pids(namespace: Option<OwnedFd>) -> std::result::Result<(), StepError> {
    let Some(namespace) = namespace else { return Ok(()) };
    kiln_sys::namespace::enter_pid_namespace(namespace.as_fd())
        .map_err(|e| StepError::outside("join-namespaces pid", e.call, e.errno))
}

/// A failed `execve` is about the program, not about the container.
pub(crate) fn explain(error: StepError, args: &[String], foreign: Option<&'static str>) -> Error {
    if error.is_exec {
        program::refused(args.first().map_or("", String::as_str), error.errno, foreign)
    } else {
        Error::Step(error)
    }
}

/// An empty parent means that the container gets no group of its own.
fn create_cgroup(spec: &RunSpec) -> Result<Option<Cgroup>> {
    if spec.cgroup_parent.is_empty() {
        return Ok(None);
    }
    let devices = if spec.security.is_unconfined() { Devices::All } else { Devices::Default };
    let allowed: Vec<String> = spec.devices.iter().filter_map(device_rule).collect();
    let options = cgroup::Options { devices, allowed: &allowed, freezable: spec.freezable };
    Ok(Cgroup::create_if_allowed(&spec.cgroup_parent, &spec.id, &spec.resources, options)?)
}

fn device_rule(device: &DeviceNode) -> Option<String> {
    let DeviceNode { kind, major, minor, access, .. } = device;
    let kind = match kind {
        DeviceKind::Character => 'c',
        DeviceKind::Block => 'b',
        DeviceKind::Fifo => return None,
    };
    Some(format!("{kind} {major}:{minor} {access}"))
}

fn remove_cgroup(cgroup: &Cgroup) -> cgroup::Result<()> {
    cgroup.kill_all()?;
    cgroup.remove()
}
