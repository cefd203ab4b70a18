//! Owner, mode, attributes and times of something that was just made.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kiln_sys::Errno;
use kiln_sys::fs::{self, Owner, Stat, Time, xattr};

use crate::xattrs::Xattrs;
use crate::{Error, Result};

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

    /// Finishes an open file or directory; times of directories come later, when nothing changes them any more.
    ///
    /// What the kernel made of the creation is looked at rather than foreseen: a umask, a default ACL and a parent
    /// with the set-group-id bit all change it. The order matters: a change of owner clears special bits and
    /// `security.capability`.
    pub(crate) fn finish(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let made = fs::fstat(fd)?;
        if (made.uid, made.gid) != (self.uid, self.gid) {
            fs::fchown(fd, self.owner()).map_err(|error| Error::owner(error, self.owner()))?;
        }
        self.set_xattrs(|key, value| xattr::fset(fd, key, value))?;
        if self.needs_mode(&made) {
            fs::fchmod(fd, self.mode)?;
        }
        if made.is_dir() { Ok(()) } else { Ok(fs::futimens(fd, Some(self.mtime), Some(self.mtime))?) }
    }

    /// Finishes a new link, device or FIFO by name.
    pub(crate) fn finish_name(&self, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
        let made = fs::statat(dir, name)?;
        if (made.uid, made.gid) != (self.uid, self.gid) {
            fs::chownat(dir, name, self.owner()).map_err(|error| Error::owner(error, self.owner()))?;
        }
        if !made.is_symlink() {
            self.set_xattrs(|key, value| xattr::set(dir, name, key, value))?;
            if self.needs_mode(&made) {
                fs::chmodat(dir, name, self.mode)?;
            }
        }
        Ok(fs::utimensat(dir, name, Some(self.mtime), Some(self.mtime))?)
    }

    fn owner(&self) -> Owner {
        Owner { uid: self.uid, gid: self.gid }
    }

    fn needs_mode(&self, made: &Stat) -> bool {
        let chowned = (made.uid, made.gid) != (self.uid, self.gid);
        made.permissions() != self.mode || chowned && self.mode & 0o6000 != 0
    }

    /// A file system without attributes loses them, as it does for other image tools.
    fn set_xattrs(&self, set: impl Fn(&OsStr, &[u8]) -> kiln_sys::Result<()>) -> Result<()> {
        for (key, value) in &self.xattrs {
            match set(OsStr::from_bytes(key), value) {
                Err(error) if error.errno == Errno::OPNOTSUPP => {}
                other => other?,
            }
        }
        Ok(())
    }
}
