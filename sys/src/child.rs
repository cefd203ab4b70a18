//! Launches a container's first process from a plan that is complete before the process exists.
//!
//! [`launch`] clones with `CLONE_VM | CLONE_VFORK`: the child borrows this process's memory while
//! the calling thread is suspended, and walks the plan with raw system calls only. It allocates
//! nothing, takes no lock, cannot panic and decides nothing.

mod display;
mod plan;
mod walk;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use rustix::io::Errno;

use crate::error::describe;
pub use plan::{Arguments, Exec, Handle, Ids, InitPlan, Namespaces, Step};
use walk::Outcome;

/// Stack of the child until it executes its program. Walking is flat: a few kilobytes are used.
const STACK_BYTES: usize = 256 * 1024;

/// A process that has executed its program.
#[derive(Debug)]
pub struct Child {
    /// Its process id.
    pub pid: u32,
    /// A descriptor of it, to signal and to wait for.
    pub pidfd: OwnedFd,
}

/// The first step that failed in the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    /// The step, as the plan prints it.
    pub step: String,
    /// The system call.
    pub call: &'static str,
    /// What the step is about: a path, a program, a number.
    pub subject: String,
    /// The kernel's answer.
    pub errno: Errno,
    /// Whether it was the program that could not be executed.
    pub is_exec: bool,
}

impl StepError {
    /// A failure in the parent, before there was a child.
    pub fn outside(step: &str, call: &'static str, errno: Errno) -> Self {
        Self { step: step.to_owned(), call, subject: String::new(), errno, is_exec: false }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container step `{}`: {}: {}", self.step, self.call, describe(self.errno))
    }
}

impl std::error::Error for StepError {}

/// Starts the process of `plan` and returns when it has executed its program, or says which step failed.
///
/// The child is killed when the calling *thread* ends, so that thread must be the one that waits for it.
pub fn launch(plan: &InitPlan) -> Result<Child, StepError> {
    let outcome = Outcome::new();
    let context = walk::Context { plan, outcome: &outcome, parent: own_pidfd() };
    let mut pidfd = -1;
    let blocked = SignalsBlocked::new();
    let pid = clone_vfork(&context, &mut pidfd);
    drop(blocked);
    if pid < 0 {
        return Err(clone_error(plan));
    }
    // SAFETY: the kernel stored a fresh descriptor there, since the clone succeeded with CLONE_PIDFD.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    match outcome.failure() {
        None => Ok(Child { pid: pid.unsigned_abs(), pidfd }),
        Some(failure) => {
            // The child ends right after it has noted a failure; nothing of it must stay behind.
            let _ = crate::process::wait(pidfd.as_fd());
            Err(plan.explain(&failure))
        }
    }
}

fn clone_vfork(context: &walk::Context<'_>, pidfd: &mut i32) -> i32 {
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let namespaces = context.plan.namespaces.0;
    // SAFETY: the stack is ours, 16-byte aligned (`u128`), unused by anything else and, like the
    // context, outlives the child's use of it: CLONE_VFORK suspends this thread until the child has
    // executed a program or ended. `walk::main` upholds the rules at the top of this file.
    unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(
            walk::main,
            top.cast(),
            flags | namespaces,
            (&raw const *context).cast_mut().cast(),
            pidfd as *mut i32,
        )
    }
}

fn clone_error(plan: &InitPlan) -> StepError {
    let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
    let subject = plan.namespaces.to_string();
    StepError { step: format!("clone {subject}"), call: "clone", subject, errno, is_exec: false }
}

/// A descriptor of this process, by which a child can see that its parent has died.
fn own_pidfd() -> Option<BorrowedFd<'static>> {
    static OWN: OnceLock<Option<OwnedFd>> = OnceLock::new();
    OWN.get_or_init(|| crate::process::pidfd_open(std::process::id()).ok()).as_ref().map(AsFd::as_fd)
}

/// All signals wait while this lives: a handler must not run in the child, on shared memory.
struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    fn new() -> Self {
        // SAFETY: both sets are valid for writes, and a zeroed `sigset_t` is a valid one.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            Self(before)
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set is the one that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{WaitStatus, wait};

    fn exec(programs: &[&str], args: &[&str]) -> Step {
        let c = |s: &&str| std::ffi::CString::new(*s).unwrap();
        Step::Exec(Box::new(Exec {
            candidates: programs.iter().map(c).collect(),
            args: Arguments::new(args.iter().map(c).collect()),
            env: Arguments::new(vec![c"A=b".to_owned()]),
        }))
    }

    fn plan(steps: Vec<Step>) -> InitPlan {
        InitPlan { namespaces: Namespaces(0), steps }
    }

    #[test]
    fn the_program_runs_and_is_reaped() {
        let plan = plan(vec![Step::DieWithParent, exec(&["/none", "/bin/sh"], &["sh", "-c", "exit 7"])]);
        let child = launch(&plan).unwrap();
        assert_eq!(wait(child.pidfd.as_fd()).unwrap(), WaitStatus::Exited(7));
    }

    #[test]
    fn the_first_failing_step_comes_back() {
        let steps = vec![
            Step::MakeDir { path: c"/proc/none/x".to_owned(), mode: 0o755 },
            exec(&["/bin/sh"], &["sh", "-c", "exit 7"]),
        ];
        let error = launch(&plan(steps)).unwrap_err();
        assert_eq!((error.call, error.errno), ("mkdir", Errno::NOENT));
        assert!(error.to_string().contains("/proc/none/x"), "{error}");
        assert!(!error.is_exec);
    }

    #[test]
    fn a_missing_program_is_told_apart() {
        let error = launch(&plan(vec![exec(&["/none/x"], &["x"])])).unwrap_err();
        assert!(error.is_exec);
        assert_eq!(error.errno, Errno::NOENT);
        let error = launch(&plan(vec![exec(&["/etc/passwd", "/none"], &["x"])])).unwrap_err();
        assert_eq!(error.errno, Errno::ACCESS);
    }
}
