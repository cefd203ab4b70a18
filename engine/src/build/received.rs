//! Folders of files that somebody sends: kept between builds, so that only what changed has to travel again.
//!
//! `received/<hash of the key>-<n>/{lock,data}` beneath the state root. Who receives or reads holds `lock`; a second user
//! of one key at the same time gets a folder of their own. The sender names every file in the order of a walk; what is
//! written is found beneath a descriptor, and no name goes through a link.

mod receiving;

use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_oci::Digest;
use kiln_sys::fs::{self, FileLock, Root, try_lock_file};

use crate::{Engine, Error, Result};

pub use receiving::{Filling, Receiving};

/// The folder beneath the state root.
const FOLDER: &str = "received";
/// The most folders of one key.
const MAX_COPIES: usize = 64;

/// What tells folders apart that are used once.
static ONCE: AtomicU64 = AtomicU64::new(0);

/// A folder that files are received in, nobody else's as long as this lives.
#[derive(Debug)]
pub struct Received {
    root: Root,
    path: PathBuf,
    _lock: FileLock,
    /// Whether it is gone when this is dropped.
    once: bool,
}

impl Engine {
    /// A folder for files that somebody sends under `key`, with what came under that key before if nobody uses it now.
    /// Blocking.
    pub fn received(&self, key: &str) -> Result<Received> {
        let name = Digest::of(key.as_bytes());
        let parent = self.store().root().join(FOLDER);
        let failed = |error: std::io::Error| Error::internal("make a folder for a context", error);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for copy in 0..MAX_COPIES {
            let dir = parent.join(format!("{}-{copy}", name.hex()));
            let path = dir.join("data");
            builder.create(&path).map_err(failed)?;
            let lock = match try_lock_file(&dir.join("lock")) {
                Ok(lock) => lock.filter(|lock| is_there(lock, &dir.join("lock"))),
                // A prune took the folder away in between.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(Error::internal("lock a folder for a context", error)),
            };
            if let (Some(lock), Ok(root)) = (lock, Root::open(&path)) {
                return Ok(Received { root, path, _lock: lock, once: false });
            }
        }
        Err(Error::conflict(format!("{MAX_COPIES} builds receive the same context now")))
    }

    /// An empty folder for files that nobody sends again; gone when it is dropped. Blocking.
    pub fn received_once(&self) -> Result<Received> {
        let number = ONCE.fetch_add(1, Ordering::Relaxed);
        let mut received = self.received(&format!("once\0{}\0{number}", std::process::id()))?;
        // A process of the same number may have left one.
        received.receive().finish()?;
        received.once = true;
        Ok(received)
    }

    /// Removes folders that nobody uses; how many.
    pub(crate) fn prune_received(&self) -> Result<usize> {
        let failed = |error: kiln_sys::Error| Error::internal("remove received contexts", error);
        let path = self.store().root().join(FOLDER);
        let Ok(parent) = Root::open(&path) else { return Ok(0) };
        let mut removed = 0;
        for found in fs::read_dir(parent.as_fd()).map_err(failed)? {
            let lock = try_lock_file(&path.join(&found.name).join("lock"));
            if let Ok(Some(_lock)) = lock {
                fs::remove_tree(parent.as_fd(), &found.name).map_err(failed)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Whether a lock is on the file that has its name now, and not on one that a prune took away.
fn is_there(lock: &FileLock, path: &Path) -> bool {
    let held = fs::fstat(lock.file().as_fd()).map(|stat| stat.ino);
    held.ok() == std::fs::metadata(path).map(|meta| meta.ino()).ok()
}

impl Drop for Received {
    fn drop(&mut self) {
        let (Some(dir), true) = (self.path.parent(), self.once) else { return };
        // What cannot be removed now is removed by a prune.
        if let (Some(parent), Some(name)) = (dir.parent(), dir.file_name())
            && let Ok(parent) = Root::open(parent)
        {
            drop(fs::remove_tree(parent.as_fd(), name));
        }
    }
}

impl Received {
    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a transfer.
    pub fn receive(&self) -> Receiving<'_> {
        Receiving::new(&self.root)
    }
}

#[cfg(test)]
mod tests;
