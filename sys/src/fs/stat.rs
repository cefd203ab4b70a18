//! What the kernel knows of a file.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Statx, StatxFlags};

pub use rustix::fs::FileType;

use crate::error::{Context, Result};

/// A point in time with nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

impl Time {
    pub(super) fn timespec(self) -> rustix::fs::Timespec {
        rustix::fs::Timespec { tv_sec: self.seconds, tv_nsec: i64::from(self.nanoseconds) }
    }
}

/// Metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// File type and permissions, as `st_mode`.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that it takes.
    pub blocks: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of names.
    pub nlink: u32,
    /// Device the file is on: major, minor.
    pub dev: (u32, u32),
    /// Device the file is: major, minor.
    pub rdev: (u32, u32),
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the metadata.
    pub ctime: Time,
}

impl Stat {
    /// The kind of file.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Permission bits with set-user-id, set-group-id and sticky.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.file_type() == FileType::Symlink
    }
}

impl From<Statx> for Stat {
    fn from(s: Statx) -> Self {
        let time = |t: rustix::fs::StatxTimestamp| Time { seconds: t.tv_sec, nanoseconds: t.tv_nsec };
        Self {
            mode: u32::from(s.stx_mode),
            uid: s.stx_uid,
            gid: s.stx_gid,
            size: s.stx_size,
            blocks: s.stx_blocks,
            ino: s.stx_ino,
            nlink: s.stx_nlink,
            dev: (s.stx_dev_major, s.stx_dev_minor),
            rdev: (s.stx_rdev_major, s.stx_rdev_minor),
            mtime: time(s.stx_mtime),
            ctime: time(s.stx_ctime),
        }
    }
}

/// Metadata of `name` in `dir`; a symbolic link is not followed. An empty name means `dir` itself.
pub fn statat(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<Stat> {
    let name = name.as_ref();
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    Ok(rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS).on("statx", name)?.into())
}

/// Metadata of an open file.
pub fn fstat(fd: BorrowedFd<'_>) -> Result<Stat> {
    statat(fd, "")
}
