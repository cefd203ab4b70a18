//! Folders of files that somebody sends: kept between builds, so that only what changed has to travel again.
//!
//! `received/<hash of the key>-<n>/{lock,data}` beneath the state root. Who receives or reads holds `lock`; a second user
//! of one key at the same time gets a folder of their own. The sender names every file in the order of a walk; what is
//! written is found beneath a descriptor, and no name goes through a link.

mod receiving;

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use kiln_oci::Digest;
use kiln_sys::fs::{self, FileLock, Root, try_lock_file};

use crate::{Engine, Error, Result};

pub use receiving::{Filling, Receiving};

/// The folder beneath the state root.
const FOLDER: &str = "received";
/// The most folders of one key; who comes then gets one for once.
const MAX_COPIES: usize = 16;
/// The most folders that are kept for the next time, and the longest that one is kept unused.
const MAX_FOLDERS: usize = 256;
const MAX_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// The lock of a folder, whose time says when it was last used.
const LOCK: &str = "lock";

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
        for copy in 0..MAX_COPIES {
            let dir = parent.join(format!("{}-{copy}", name.hex()));
            let is_new = !dir.exists();
            if let Some(received) = take(&dir)? {
                if is_new {
                    self.tidy_received(&parent)?;
                }
                return Ok(received);
            }
        }
        self.received_once()
    }

    /// An empty folder for files that nobody sends again; gone when it is dropped. Blocking.
    pub fn received_once(&self) -> Result<Received> {
        let parent = self.store().root().join(FOLDER);
        loop {
            let number = ONCE.fetch_add(1, Ordering::Relaxed);
            let dir = parent.join(format!("once-{}-{number}", std::process::id()));
            // A process of the same number may have left one.
            if let Some(mut received) = take(&dir)? {
                received.receive().finish()?;
                received.once = true;
                return Ok(received);
            }
        }
    }

    /// Removes folders that nobody uses; how many, and the bytes in them.
    pub(crate) fn prune_received(&self) -> Result<(usize, u64)> {
        let path = self.store().root().join(FOLDER);
        let (mut removed, mut bytes) = (0, 0);
        for (name, _) in folders(&path)? {
            let size = occupied(&path.join(&name));
            if remove(&path, &name)? {
                removed += 1;
                bytes += size;
            }
        }
        Ok((removed, bytes))
    }

    /// How many folders there are and are used, and the bytes of all and of those that are not.
    pub(crate) fn received_usage(&self) -> Result<ReceivedUsage> {
        let path = self.store().root().join(FOLDER);
        let mut usage = ReceivedUsage::default();
        for (name, _) in folders(&path)? {
            let dir = path.join(&name);
            let (bytes, is_used) = (occupied(&dir), !matches!(try_lock_file(&dir.join(LOCK)), Ok(Some(_))));
            usage.total += 1;
            usage.active += usize::from(is_used);
            usage.bytes += bytes;
            usage.reclaimable += if is_used { 0 } else { bytes };
        }
        Ok(usage)
    }

    /// Removes folders of long ago, and those of the longest ago where there are too many.
    fn tidy_received(&self, parent: &Path) -> Result<()> {
        let mut all = folders(parent)?;
        all.sort_by_key(|(_, used)| *used);
        let too_many = all.len().saturating_sub(MAX_FOLDERS);
        let old = SystemTime::now().checked_sub(MAX_AGE);
        for (number, (name, used)) in all.iter().enumerate() {
            if number < too_many || old.is_some_and(|old| *used < old) {
                remove(parent, name)?;
            }
        }
        Ok(())
    }
}

/// What folders of received files take.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceivedUsage {
    pub(crate) total: usize,
    pub(crate) active: usize,
    pub(crate) bytes: u64,
    pub(crate) reclaimable: u64,
}

/// The folder `dir`, unless somebody uses it.
fn take(dir: &Path) -> Result<Option<Received>> {
    let failed = |error: std::io::Error| Error::internal("make a folder for a context", error);
    let (path, lock) = (dir.join("data"), dir.join(LOCK));
    DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
    let held = match try_lock_file(&lock) {
        Ok(held) => held.filter(|held| is_there(held, &lock)),
        // A prune took the folder away in between.
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(Error::internal("lock a folder for a context", error)),
    };
    let (Some(held), Ok(root)) = (held, Root::open(&path)) else { return Ok(None) };
    held.file().set_modified(SystemTime::now()).map_err(failed)?;
    Ok(Some(Received { root, path, _lock: held, once: false }))
}

/// The folders of a root and when each was last used.
fn folders(path: &Path) -> Result<Vec<(OsString, SystemTime)>> {
    let failed = |error: kiln_sys::Error| Error::internal("look at received contexts", error);
    let Ok(parent) = Root::open(path) else { return Ok(Vec::new()) };
    let found = fs::read_dir(parent.as_fd()).map_err(failed)?;
    let used = |name: &OsStr| std::fs::metadata(path.join(name).join(LOCK)).and_then(|lock| lock.modified());
    // One without a lock is about to be made.
    Ok(found.into_iter().filter_map(|found| used(&found.name).ok().map(|used| (found.name, used))).collect())
}

/// Removes a folder, unless somebody uses it; whether it did.
fn remove(parent: &Path, name: &OsStr) -> Result<bool> {
    let failed = |error: kiln_sys::Error| Error::internal("remove received contexts", error);
    let Ok(Some(_lock)) = try_lock_file(&parent.join(name).join(LOCK)) else { return Ok(false) };
    let parent = Root::open(parent).map_err(failed)?;
    fs::remove_tree(parent.as_fd(), name).map_err(failed)?;
    Ok(true)
}

/// The bytes on the disk of what is in a folder, as far as it can be read.
fn occupied(dir: &Path) -> u64 {
    const BLOCK: u64 = 512;
    let (mut bytes, mut todo) = (0, vec![dir.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * BLOCK;
            if metadata.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    bytes
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
