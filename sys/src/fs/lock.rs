//! Whole-file locks that die with the process that holds them.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Context, Result};

/// An exclusive lock on a file, released when this is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// The locked file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Opens (or creates) `path` and waits until it is locked.
pub fn lock_file(path: &Path) -> Result<FileLock> {
    let file = open(path)?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => return other.on("flock", path).map(|()| FileLock { file }),
        }
    }
}

/// Like [`lock_file`], but `None` when somebody else holds the lock.
pub fn try_lock_file(path: &Path) -> Result<Option<FileLock>> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(FileLock { file })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).on("flock", path),
    }
}

fn open(path: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO)).on("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock_file(&path).unwrap();
        assert!(try_lock_file(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock_file(&path).unwrap().is_some());
    }
}
