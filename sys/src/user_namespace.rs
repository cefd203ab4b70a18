//! The user namespace in which somebody who is not root works as if they were.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use crate::error::{Context, Error, Result};

/// What the numbers of users are mapped to where nobody mapped them.
const UNMAPPED: &str = "0 0 4294967295";
const UID_MAP: &str = "/proc/self/uid_map";
const GID_MAP: &str = "/proc/self/gid_map";
const SETGROUPS: &str = "/proc/self/setgroups";

/// Numbers of one kind in a user namespace: where they begin inside and outside, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first one inside.
    pub inside: u32,
    /// The first one outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    /// Reads the lines of `uid_map` or `gid_map` (user_namespaces(7)).
    fn parse(map: &str) -> Vec<IdRange> {
        let line = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some(IdRange { inside: next()?, outside: next()?, count: next()? })
        };
        map.lines().filter_map(line).collect()
    }
}

/// Whether this process is in another user namespace than the machine's own, in which root has not all of root's rights.
/// Said by what was the case when it was first asked.
pub fn is_confined() -> bool {
    static CONFINED: OnceLock<bool> = OnceLock::new();
    *CONFINED.get_or_init(|| {
        let map = std::fs::read_to_string(UID_MAP).unwrap_or_default();
        let words: Vec<&str> = map.split_ascii_whitespace().collect();
        !words.is_empty() && words.join(" ") != UNMAPPED
    })
}

/// Whether there is a group of this number here, which a file could have.
pub fn has_group(gid: u32) -> bool {
    let map = std::fs::read_to_string(GID_MAP).unwrap_or_default();
    IdRange::parse(&map).iter().any(|range| gid.checked_sub(range.inside).is_some_and(|at| at < range.count))
}

/// Whether a process may choose its supplementary groups; not so where nobody but the kernel vouches for its namespace.
pub fn may_set_groups() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| std::fs::read_to_string(SETGROUPS).is_ok_and(|text| text.trim() != "deny"))
}

/// User and group that this process acts as.
pub fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Gives this process mounts of its own, to which its rights in its user namespace extend. Before there are other threads.
pub fn unshare_mounts() -> Result<()> {
    // SAFETY: the process has one thread, or the call changes the mounts of the calling thread alone.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.on("unshare", "mounts")
}

/// Moves this process, which must have one thread, into a user namespace and mounts of its own, as root of it.
///
/// `map` runs in a child outside, which the kernel lets give the namespace (that of the process with this number) more than
/// one user; where it answers no, root is the only one.
pub fn become_root(map: impl FnOnce(u32) -> bool) -> Result<()> {
    let (uid, gid) = own_ids();
    let (made, make) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).on("pipe", "a helper")?;
    let own = std::process::id();
    let child = fork_helper(own, made, &make, map)?;
    // SAFETY: the process has one thread; the kernel refuses otherwise.
    let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) };
    if unshared.is_ok() {
        rustix::io::write(&make, b"!").on("write", "a pipe")?;
    }
    // Without a word the helper sees the end of the pipe and ends.
    drop(make);
    let is_mapped = wait(child)?;
    unshared.on("unshare", "user namespace")?;
    if !is_mapped {
        map_one(uid, gid)?;
    }
    become_first()
}

/// The child waits until the namespace is there, maps its users, and ends; its number.
fn fork_helper(own: u32, made: OwnedFd, make: &OwnedFd, map: impl FnOnce(u32) -> bool) -> Result<i32> {
    // SAFETY: where there is one thread, no lock can be held by another in the child.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last("fork", "a helper")),
        0 => {
            let mut word = [0];
            // Its own end for writing would keep the pipe open.
            // SAFETY: it is open, and nothing uses it in this process again.
            unsafe { libc::close(make.as_raw_fd()) };
            let is_made = rustix::io::read(&made, &mut word) == Ok(1);
            let code = i32::from(!(is_made && map(own)));
            // SAFETY: ends the child without running what the parent registered for its own end.
            unsafe { libc::_exit(code) }
        }
        child => Ok(child),
    }
}

fn wait(child: i32) -> Result<bool> {
    let mut status = 0;
    // SAFETY: the pointer is valid for the call.
    while unsafe { libc::waitpid(child, &mut status, 0) } != child {
        let error = Error::last("waitpid", "a helper");
        if error.errno != Errno::INTR {
            return Err(error);
        }
    }
    Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
}

/// The map that everybody may write: oneself, as root.
fn map_one(uid: u32, gid: u32) -> Result<()> {
    for (file, text) in
        [(SETGROUPS, "deny".to_owned()), (UID_MAP, format!("0 {uid} 1")), (GID_MAP, format!("0 {gid} 1"))]
    {
        std::fs::write(file, text)
            .map_err(|error| Error::new("write", file, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    }
    Ok(())
}

fn become_first() -> Result<()> {
    // SAFETY: plain numbers; the process has one thread.
    unsafe {
        if libc::setresgid(0, 0, 0) != 0 {
            return Err(Error::last("setresgid", "0"));
        }
        if libc::setresuid(0, 0, 0) != 0 {
            return Err(Error::last("setresuid", "0"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_line_by_line() {
        let ranges =
            IdRange::parse("         0       1000          1\n         1     100000      65536\nx\n");
        assert_eq!(
            ranges,
            [
                IdRange { inside: 0, outside: 1000, count: 1 },
                IdRange { inside: 1, outside: 100_000, count: 65_536 }
            ]
        );
    }
}
