//! Namespaces: making them and working inside them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::{Context, Result};

/// The calling thread's network namespace.
const OWN_NETWORK: &str = "/proc/thread-self/ns/net";
/// The calling thread's mounts.
pub(crate) const OWN_MOUNTS: &str = "/proc/thread-self/ns/mnt";

/// Makes an empty network namespace that lives as long as the descriptor (or a process in it).
pub fn new_network_namespace() -> Result<OwnedFd> {
    new_network_namespace_with(|| ()).map(|(ns, ())| ns)
}

/// Makes an empty network namespace and runs `f` inside it; sockets that `f` opens stay there.
pub fn new_network_namespace_with<T: Send>(f: impl FnOnce() -> T + Send) -> Result<(OwnedFd, T)> {
    on_thread(|| {
        // SAFETY: only the network namespace of this thread changes, and the thread ends right after;
        // no memory or descriptor table is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.on("unshare", "network namespace")?;
        Ok((open_namespace(Path::new(OWN_NETWORK))?, f()))
    })
}

/// Runs `f` on a fresh thread that is in the network namespace `ns`.
pub fn in_network_namespace<T: Send>(ns: BorrowedFd<'_>, f: impl FnOnce() -> T + Send) -> Result<T> {
    on_thread(|| {
        move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network))
            .on("setns", "network namespace")?;
        Ok(f())
    })
}

/// Runs `f` on a fresh thread whose mounts are a private copy: what it mounts, only it sees.
pub fn in_private_mounts<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_thread(|| {
        // SAFETY: mounts and working directory of this thread alone change, and it ends right after.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
            .on("unshare", "mounts")?;
        let private =
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).on("mount", "/")?;
        f()
    })
}

/// Runs `f` on a fresh thread that sees the mounts of the namespace `ns`, whose root is its root then.
pub fn in_mounts_of<T: Send>(ns: BorrowedFd<'_>, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_thread(|| {
        // SAFETY: root and working directory of this thread alone change from here on, and it ends right after.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.on("unshare", "the working directory")?;
        move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Mount)).on("setns", "mounts")?;
        f()
    })
}

/// Makes the children that this thread will start live in the process ids of the process behind `pidfd`.
///
/// The thread itself stays; it can start no more threads afterwards.
pub fn enter_pid_namespace(pidfd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: plain call; only where this thread's future children live changes.
    let result = unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&pidfd), libc::CLONE_NEWPID) };
    let errno = || rustix::io::Errno::from_io_error(&std::io::Error::last_os_error());
    if result == 0 {
        Ok(())
    } else {
        Err(errno().unwrap_or(rustix::io::Errno::IO)).on("setns", "process ids")
    }
}

/// Opens a namespace file such as `/proc/<pid>/ns/net`.
pub fn open_namespace(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)
}

/// Runs `f` on a thread of its own: a namespace change must not outlive it in a pooled thread.
fn on_thread<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| match scope.spawn(f).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> std::path::PathBuf {
        std::fs::read_link(OWN_NETWORK).unwrap()
    }

    #[test]
    fn work_happens_inside_and_the_caller_stays_outside() {
        let before = own();
        let ns = new_network_namespace().unwrap();
        let inside = in_network_namespace(ns.as_fd(), own).unwrap();
        assert_ne!(inside, before);
        assert_eq!(own(), before);
    }
}
