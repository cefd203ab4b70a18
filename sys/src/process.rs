//! Processes by pidfd: signals and waiting without races on process numbers.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions};

use crate::error::{Context, Error, Result};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// It called exit with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

impl WaitStatus {
    /// The code a shell would report: the exit code, or 128 plus the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// Opens a descriptor of a process.
pub fn pidfd_open(pid: u32) -> Result<OwnedFd> {
    let pid = to_pid(pid)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).on("pidfd_open", pid.to_string().as_str())
}

/// Sends signal number `signal` to exactly the process behind `pidfd`. A process that has ended is `ESRCH`.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: no signal information is passed; the kernel checks descriptor and number.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            std::os::fd::AsRawFd::as_raw_fd(&pidfd),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::last("pidfd_send_signal", format!("signal {signal}"))) }
}

/// Waits until the child behind `pidfd` has ended, and reaps it.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<WaitStatus> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(ended(&status)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("waitid", "a child", errno)),
        }
    }
}

/// Like [`wait`], but returns `None` when the child still runs.
pub fn try_wait(pidfd: BorrowedFd<'_>) -> Result<Option<WaitStatus>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = rustix::process::waitid(WaitId::PidFd(pidfd), options).on("waitid", "a child")?;
    Ok(status.as_ref().map(ended))
}

/// Waits until the process behind `pidfd` has ended or the time is over; says whether it ended. Reaps nothing.
pub fn poll_exit(pidfd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool> {
    Ok(poll_readable(&[pidfd], timeout)?[0])
}

/// Waits until one of the descriptors is readable (or hung up) or the time is over.
pub fn poll_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<Vec<bool>> {
    let mut polls: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let deadline = timeout.map(|t| std::time::Instant::now() + t);
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(std::time::Instant::now()));
        let left =
            left.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        match poll(&mut polls, left.as_ref()) {
            Ok(_) => return Ok(polls.iter().map(|p| !p.revents().is_empty()).collect()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("poll", "descriptors", errno)),
        }
    }
}

/// Makes orphans below this process its own children, so that it can reap them.
pub fn set_subreaper() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .on("prctl", "PR_SET_CHILD_SUBREAPER")
}

/// Asks the kernel to kill this process when the thread that started it ends.
pub fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).on("prctl", "PR_SET_PDEATHSIG")
}

/// Leaves the terminal and process group of whoever started this process, by a session of its own.
pub fn new_session() -> Result<()> {
    rustix::process::setsid().map(drop).on("setsid", "this process")
}

/// Keeps other processes of the same user from tracing this one and from opening what it has open.
pub fn forbid_dumps() -> Result<()> {
    let behavior = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(behavior).on("prctl", "PR_SET_DUMPABLE")
}

/// This program as a file on a read-only mount of its own.
///
/// A process that is started from it (by its entry in `/proc/self/fd`) shows that mount as its
/// `/proc/<pid>/exe`, through which nobody can write to the program.
pub fn sealed_self() -> Result<OwnedFd> {
    let mut mount = crate::mount::Mount::bind("/proc/self/exe", "");
    mount.flags |= crate::mount::MountFlags::READONLY;
    mount.detached()
}

/// `SIGCHLD`.
pub const SIGCHLD: i32 = libc::SIGCHLD;

/// Signals of this process as a queue instead of interruptions.
#[derive(Debug)]
pub struct SignalInbox {
    all: libc::sigset_t,
}

impl SignalInbox {
    /// Blocks every signal for this thread; from now on they wait to be taken by [`SignalInbox::next`].
    pub fn new() -> Result<Self> {
        // SAFETY: the set is valid for writes, and a zeroed one is a valid value.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&mut all);
            if libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut()) != 0 {
                return Err(Error::last("pthread_sigmask", "all signals"));
            }
            Ok(Self { all })
        }
    }

    /// Waits for the next signal and takes it.
    pub fn next(&self) -> Result<i32> {
        let mut signal = 0;
        // SAFETY: both pointers are valid for the call.
        match unsafe { libc::sigwait(&self.all, &mut signal) } {
            0 => Ok(signal),
            errno => Err(Error::new("sigwait", "all signals", Errno::from_raw_os_error(errno))),
        }
    }

    /// Starts a command that does not inherit the blocked signals.
    pub fn spawn(&self, command: &mut std::process::Command) -> std::io::Result<std::process::Child> {
        use std::os::unix::process::CommandExt;
        // SAFETY: the closure only makes one call that is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                let none: libc::sigset_t = std::mem::zeroed();
                libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
                Ok(())
            });
        }
        command.spawn()
    }
}

/// Sends a signal to a child that has not been reaped, by its number.
pub fn kill(pid: u32, signal: i32) -> Result<()> {
    let raw = to_pid(pid)?.as_raw_nonzero().get();
    // SAFETY: plain numbers.
    if unsafe { libc::kill(raw, signal) } == 0 { Ok(()) } else { Err(Error::last("kill", pid.to_string())) }
}

/// Sends a signal to every process of the group that a child of ours leads, which has not been reaped.
pub fn kill_group(leader: u32, signal: i32) -> Result<()> {
    let raw = to_pid(leader)?.as_raw_nonzero().get();
    // SAFETY: plain numbers.
    if unsafe { libc::kill(-raw, signal) } == 0 {
        Ok(())
    } else {
        Err(Error::last("kill", leader.to_string()))
    }
}

/// Like [`reap_any`], but `None` also when every child still runs.
pub fn try_reap_any() -> Result<Option<(u32, WaitStatus)>> {
    match rustix::process::waitpid(None, WaitOptions::NOHANG) {
        Ok(found) => {
            Ok(found.map(|(pid, status)| (pid.as_raw_nonzero().get().unsigned_abs(), plain(status))))
        }
        Err(Errno::CHILD) => Ok(None),
        Err(errno) => Err(Error::new("waitid", "any child", errno)),
    }
}

/// Reaps any ended child; `None` when there is no child left.
pub fn reap_any() -> Result<Option<(u32, WaitStatus)>> {
    loop {
        match rustix::process::waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                return Ok(Some((pid.as_raw_nonzero().get().unsigned_abs(), plain(status))));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(Error::new("waitid", "any child", errno)),
        }
    }
}

fn to_pid(pid: u32) -> Result<rustix::process::Pid> {
    let raw = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    raw.ok_or_else(|| Error::new("pidfd_open", format!("`{pid}`"), Errno::SRCH))
}

fn plain(status: rustix::process::WaitStatus) -> WaitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => WaitStatus::Exited(code),
        (None, signal) => WaitStatus::Signaled(signal.unwrap_or(libc::SIGKILL)),
    }
}

fn ended(status: &rustix::process::WaitIdStatus) -> WaitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => WaitStatus::Exited(code),
        (None, signal) => WaitStatus::Signaled(signal.unwrap_or(libc::SIGKILL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_sealed_program_cannot_be_written() {
        let sealed = sealed_self().unwrap();
        let path = crate::fs::proc_path(&sealed);
        // Opening for writing is refused because it runs; changing its mode shows what holds afterwards.
        assert!(std::fs::OpenOptions::new().write(true).open(&path).is_err());
        let permissions = std::fs::metadata(&path).unwrap().permissions();
        let error = std::fs::set_permissions(&path, permissions).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        let listed = std::process::Command::new(&path).arg("--list").output().unwrap();
        assert!(listed.status.success());
    }

    #[test]
    fn a_killed_child_is_reported_with_its_signal() {
        let mut child = std::process::Command::new("/bin/sleep").arg("100").spawn().unwrap();
        let pidfd = pidfd_open(child.id()).unwrap();
        assert_eq!(try_wait(pidfd.as_fd()).unwrap(), None);
        assert!(!poll_exit(pidfd.as_fd(), Some(Duration::ZERO)).unwrap());
        pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert_eq!(wait(pidfd.as_fd()).unwrap(), WaitStatus::Signaled(9));
        assert_eq!(WaitStatus::Signaled(9).code(), 137);
        // Reaped already, so the standard library finds nothing to wait for.
        assert!(child.wait().is_err());
    }
}
