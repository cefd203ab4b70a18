//! Owner, mode, attributes and times of something that was just made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use kiln_sys::Errno;
use kiln_sys::fs::{self, Owner, Time, xattr};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::Result;
use crate::xattrs::Xattrs;

/// What a new file gets beyond its content.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Xattrs,
}

impl Attributes {
    /// The permissions to create something with. Special bits come last, when owner and content are final.
    pub(crate) fn creation_mode(&self) -> u32 {
        self.mode & 0o777
    }

    fn owner(&self) -> Option<Owner> {
        (self.uid != 0 || self.gid != 0).then_some(Owner { uid: self.uid, gid: self.gid })
    }

    /// Finishes a new file or directory that is open. The order matters: a change of owner clears special bits
    /// and `security.capability`. What root made with its own ids and an innocent umask needs no call.
    pub(crate) fn finish(&self, fd: BorrowedFd<'_>, umask: u32) -> Result<()> {
        let owner = self.owner();
        if let Some(owner) = owner {
            fs::fchown(fd, owner)?;
        }
        self.set_xattrs(fd, Path::new(""))?;
        if self.mode & (umask | 0o7000) != 0 {
            fs::fchmod(fd, self.mode)?;
        }
        Ok(fs::futimens(fd, Some(self.mtime), Some(self.mtime))?)
    }

    /// Gives an open directory that was there before everything but times, which come last of all.
    pub(crate) fn finish_directory(&self, dir: &OwnedFd, fresh: bool, umask: u32) -> Result<()> {
        if !fresh || self.owner().is_some() {
            fs::fchown(dir.as_fd(), Owner { uid: self.uid, gid: self.gid })?;
        }
        self.set_xattrs(dir.as_fd(), Path::new(""))?;
        if !fresh || self.mode & (umask | 0o7000) != 0 {
            fs::fchmod(dir.as_fd(), self.mode)?;
        }
        Ok(())
    }

    /// Finishes a new link, device or FIFO by name.
    pub(crate) fn finish_name(
        &self,
        dir: BorrowedFd<'_>,
        name: &Path,
        is_link: bool,
        umask: u32,
    ) -> Result<()> {
        if let Some(owner) = self.owner() {
            fs::chownat(dir, name, owner)?;
        }
        if !is_link {
            self.set_xattrs(dir, name)?;
            if self.mode & (umask | 0o7000) != 0 {
                fs::chmodat(dir, name, self.mode)?;
            }
        }
        Ok(fs::utimensat(dir, name, Some(self.mtime), Some(self.mtime))?)
    }

    /// A file system without attributes loses them, as it does for other image tools.
    fn set_xattrs(&self, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
        for (key, value) in &self.xattrs {
            match xattr::set(dir, name, OsStr::from_bytes(key), value) {
                Err(error) if error.errno == Errno::OPNOTSUPP => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// The process's umask. Setting it would be the only way to ask the kernel directly, and would race.
pub(crate) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}
