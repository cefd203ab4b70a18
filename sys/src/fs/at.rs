//! Calls on one name in one directory descriptor; none follows a symbolic link in that name.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};

use super::root::Owner;
use super::stat::Time;
pub use super::stat::{fstat, statat};
use crate::error::{Context, Result};

/// The current directory as a descriptor, for absolute paths.
pub use rustix::fs::CWD;

/// Makes a directory. The umask applies; use [`chmodat`] afterwards where the mode must be exact.
pub fn mkdirat(dir: BorrowedFd<'_>, name: impl AsRef<Path>, mode: u32) -> Result<()> {
    let name = name.as_ref();
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode)).on("mkdirat", name)
}

/// Makes a device, FIFO or socket: `mode` holds type and permissions, `device` is from [`makedev`].
pub fn mknodat(dir: BorrowedFd<'_>, name: impl AsRef<Path>, mode: u32, device: u64) -> Result<()> {
    let name = name.as_ref();
    let kind = rustix::fs::FileType::from_raw_mode(mode);
    rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(mode), device).on("mknodat", name)
}

/// A device number.
pub fn makedev(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

/// The two parts of a device number.
pub fn split_device(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

/// Makes a symbolic link `name` with the text `target`.
pub fn symlinkat(target: impl AsRef<Path>, dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    rustix::fs::symlinkat(target.as_ref(), dir, name).on("symlinkat", name)
}

/// Reads a symbolic link.
pub fn readlinkat(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<PathBuf> {
    let name = name.as_ref();
    let target = rustix::fs::readlinkat(dir, name, Vec::new()).on("readlinkat", name)?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

/// Gives the file `from` in `from_dir` another name. A symbolic link is linked itself.
pub fn linkat(
    from_dir: BorrowedFd<'_>,
    from: impl AsRef<Path>,
    dir: BorrowedFd<'_>,
    name: impl AsRef<Path>,
) -> Result<()> {
    let name = name.as_ref();
    rustix::fs::linkat(from_dir, from.as_ref(), dir, name, AtFlags::empty()).on("linkat", name)
}

/// Gives the open file behind an `O_PATH` descriptor another name.
pub fn link_fd(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    rustix::fs::linkat(file, "", dir, name, AtFlags::EMPTY_PATH).on("linkat", name)
}

/// Removes a name that is not a directory.
pub fn unlinkat(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    rustix::fs::unlinkat(dir, name, AtFlags::empty()).on("unlinkat", name)
}

/// Removes an empty directory.
pub fn rmdirat(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).on("unlinkat", name)
}

/// Renames, replacing what is there.
pub fn renameat(
    from_dir: BorrowedFd<'_>,
    from: impl AsRef<Path>,
    dir: BorrowedFd<'_>,
    name: impl AsRef<Path>,
) -> Result<()> {
    let from = from.as_ref();
    rustix::fs::renameat(from_dir, from, dir, name.as_ref()).on("renameat", from)
}

/// Sets the owner. An empty name means `dir` itself.
pub fn chownat(dir: BorrowedFd<'_>, name: impl AsRef<Path>, owner: Owner) -> Result<()> {
    let name = name.as_ref();
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags).on("fchownat", name)
}

/// Sets the owner of an open file.
pub fn fchown(fd: BorrowedFd<'_>, owner: Owner) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::fchown(fd, Some(uid), Some(gid)).on("fchown", "an open file")
}

/// Sets permission bits, and never those of what a symbolic link points to: a link is `EOPNOTSUPP` or `ELOOP`.
pub fn chmodat(dir: BorrowedFd<'_>, name: impl AsRef<Path>, mode: u32) -> Result<()> {
    let name = name.as_ref();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(dir, name, flags, Mode::empty()).on("openat", name)?;
    if fstat(std::os::fd::AsFd::as_fd(&handle))?.is_symlink() {
        return Err(rustix::io::Errno::OPNOTSUPP).on("fchmodat", name);
    }
    // `fchmod` refuses an `O_PATH` handle; its entry in /proc/self/fd is the same object, not a path to it.
    rustix::fs::chmod(proc_path(&handle), Mode::from_raw_mode(mode)).on("fchmodat", name)
}

/// Sets permission bits of an open file.
pub fn fchmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).on("fchmod", "an open file")
}

/// Sets access and modification time; `None` keeps one.
pub fn utimensat(
    dir: BorrowedFd<'_>,
    name: impl AsRef<Path>,
    atime: Option<Time>,
    mtime: Option<Time>,
) -> Result<()> {
    let name = name.as_ref();
    if name.as_os_str().is_empty() {
        return futimens(dir, atime, mtime);
    }
    rustix::fs::utimensat(dir, name, &timestamps(atime, mtime), AtFlags::SYMLINK_NOFOLLOW)
        .on("utimensat", name)
}

/// Sets the times of an open file or directory, also through an `O_PATH` handle.
pub fn futimens(fd: BorrowedFd<'_>, atime: Option<Time>, mtime: Option<Time>) -> Result<()> {
    rustix::fs::utimensat(fd, "", &timestamps(atime, mtime), AtFlags::EMPTY_PATH)
        .on("utimensat", "an open file")
}

/// Creates a new file for writing; an existing name, of whatever kind, is `EEXIST`.
pub fn create_file(dir: BorrowedFd<'_>, name: impl AsRef<Path>, mode: u32) -> Result<File> {
    let name = name.as_ref();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode)).on("openat", name)?.into())
}

/// Opens a file for reading, which leaves no trace in its access time where that can be; a symbolic link is `ELOOP`.
pub fn open_file(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<File> {
    let name = name.as_ref();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may leave no trace.
        Err(rustix::io::Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        opened => opened,
    };
    Ok(opened.on("openat", name)?.into())
}

/// Opens a directory for reading; a symbolic link is `ENOTDIR`.
pub fn open_dir(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<OwnedFd> {
    let name = name.as_ref();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).on("openat", name)
}

/// An `O_PATH` handle on a name, also on a symbolic link itself.
pub fn open_path(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<OwnedFd> {
    let name = name.as_ref();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).on("openat", name)
}

/// Writes everything of the file system that holds `fd` to the disk.
pub fn syncfs(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::syncfs(fd).on("syncfs", "a file system")
}

/// Writes a file or directory to the disk.
pub fn fsync(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::fsync(fd).on("fsync", "an open file")
}

/// The path that leads to an open descriptor of this process, whatever happens to its names.
pub fn proc_path(fd: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

fn timestamps(atime: Option<Time>, mtime: Option<Time>) -> Timestamps {
    let spec = |t: Option<Time>| t.map_or(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, Time::timespec);
    Timestamps { last_access: spec(atime), last_modification: spec(mtime) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn times_keep_nanoseconds_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = super::super::Root::open(dir.path()).unwrap();
        create_file(root.as_fd(), "file", 0o600).unwrap();
        symlinkat("file", root.as_fd(), "link").unwrap();
        let at = Time { seconds: -5, nanoseconds: 123_456_789 };
        utimensat(root.as_fd(), "link", None, Some(at)).unwrap();
        assert_eq!(statat(root.as_fd(), "link").unwrap().mtime, at);
        assert_ne!(statat(root.as_fd(), "file").unwrap().mtime, at);
        assert!(chmodat(root.as_fd(), "link", 0o777).is_err());
        chmodat(root.as_fd(), "file", 0o4711).unwrap();
        assert_eq!(statat(root.as_fd(), "file").unwrap().permissions(), 0o4711);
        futimens(root.as_fd(), Some(at), Some(at)).unwrap();
        assert_eq!(fstat(root.as_fd()).unwrap().mtime, at);
        assert_eq!(create_file(root.as_fd(), "link", 0o600).unwrap_err().errno, rustix::io::Errno::EXIST);
    }
}
