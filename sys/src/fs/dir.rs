//! Listing directories by `getdents`, and removing trees without following anything.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, RawDir};
use rustix::io::Errno;

use super::at;
use crate::error::{Context, Error, Result};

/// Buffer of one `getdents` call.
const BUFFER: usize = 32 * 1024;

/// How deep a tree may be that is removed.
const DEPTH_MAX: usize = 4096;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// Its kind, [`FileType::Unknown`] where the file system does not say.
    pub file_type: FileType,
    /// Its inode number.
    pub ino: u64,
}

/// The names in a directory, without `.` and `..`, in the kernel's order. Reads from the descriptor's
/// position, which for a freshly opened directory is its start.
pub fn read_dir(dir: BorrowedFd<'_>) -> Result<Vec<Entry>> {
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut raw = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut entries = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry.on("getdents64", "a directory")?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let name = OsStr::from_bytes(name).to_owned();
            entries.push(Entry { name, file_type: entry.file_type(), ino: entry.ino() });
        }
    }
    Ok(entries)
}

/// Removes `name` in `dir` and everything below it; links are removed, not followed. A missing name is fine.
pub fn remove_tree(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<()> {
    remove(dir, name.as_ref(), 0)
}

fn remove(dir: BorrowedFd<'_>, name: &Path, depth: usize) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux answers EISDIR for a directory; EPERM is the answer POSIX names.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno).on("unlinkat", name),
    }
    if depth == DEPTH_MAX {
        return Err(Error::new("unlinkat", format!("`{}` (nested too deep)", name.display()), Errno::LOOP));
    }
    empty(dir, name, depth)?;
    match at::rmdirat(dir, name) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn empty(dir: BorrowedFd<'_>, name: &Path, depth: usize) -> Result<()> {
    let inner = match at::open_dir(dir, name) {
        Ok(inner) => inner,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in read_dir(inner.as_fd())? {
        remove(inner.as_fd(), Path::new(&entry.name), depth + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_and_what_its_links_point_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        std::fs::create_dir_all(base.join("tree/a/b")).unwrap();
        std::fs::write(base.join("canary"), "x").unwrap();
        std::os::unix::fs::symlink("../canary", base.join("tree/link")).unwrap();
        std::fs::write(base.join("tree/a/b/file"), "x").unwrap();
        let root = super::super::Root::open(base).unwrap();
        let mut names: Vec<_> = read_dir(root.as_fd()).unwrap().into_iter().map(|e| e.name).collect();
        names.sort();
        assert_eq!(names, ["canary", "tree"]);
        remove_tree(root.as_fd(), "tree").unwrap();
        remove_tree(root.as_fd(), "tree").unwrap();
        assert!(!base.join("tree").exists());
        assert!(base.join("canary").exists());
    }
}
