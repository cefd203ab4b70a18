//! The index of a local context: digests of files that did not change since they were last read.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_cache::Store;
use kiln_cache::context_index::{ContextIndex, DirIndex, Entry, Stamp, content_digest};
use kiln_oci::Digest;
use kiln_snapshot::checksum::Memo;
use kiln_sys::fs::{Stat, Time};

/// A file that changed so shortly before it was read may change again without its times telling (git's racy rule):
/// the kernel stamps files with the time of the last timer tick.
const RACY: Duration = Duration::from_millis(20);

/// What is known of one context. What it learns is saved when it is dropped.
pub(crate) struct Index {
    store: Arc<Store>,
    root: Vec<u8>,
    known: ContextIndex,
    learned: Mutex<BTreeMap<Vec<u8>, Learned>>,
}

/// New entries of one directory, by name.
type Learned = BTreeMap<Box<[u8]>, Entry>;

impl Index {
    /// The index of the context at `path`; an unreadable one is an empty one.
    pub(crate) fn load(store: &Arc<Store>, path: &Path) -> Index {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let root = path.as_os_str().as_bytes().to_vec();
        let known = store.contexts.load(&root).unwrap_or_default();
        Index { store: store.clone(), root, known, learned: Mutex::default() }
    }

    /// The entries of a directory with what was learned put in.
    fn merged(&self, dir: &[u8], learned: Learned) -> DirIndex {
        let known = self.known.dir(dir).map(DirIndex::entries).unwrap_or_default();
        let kept = known.iter().filter(|entry| !learned.contains_key(&entry.name)).cloned();
        let entries: Vec<Entry> = kept.collect();
        DirIndex::new(entries.into_iter().chain(learned.into_values()).collect())
    }
}

impl Memo for Index {
    fn get(&self, path: &[u8], stat: &Stat) -> Option<Digest> {
        let (dir, name) = split(path);
        content_digest(self.known.dir(dir)?.get(name, &stamp(stat))?)
    }

    fn put(&self, path: &[u8], stat: &Stat, digest: &Digest) {
        let stamp = stamp(stat);
        let (Some(content), false) = (raw(digest), is_racy(&stamp)) else { return };
        let (dir, name) = split(path);
        let entry = Entry { name: name.into(), stamp, content };
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.entry(dir.to_vec()).or_default().insert(name.into(), entry);
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let learned = std::mem::take(self.learned.get_mut().unwrap_or_else(PoisonError::into_inner));
        if learned.is_empty() {
            return;
        }
        let dirs = learned.into_iter().map(|(dir, entries)| {
            let merged = self.merged(&dir, entries);
            (dir, merged)
        });
        let changed: Vec<_> = dirs.collect();
        // Without it the next build reads the files again; nothing is wrong then.
        drop(self.store.contexts.save(&self.root, &changed, &[]));
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

fn stamp(stat: &Stat) -> Stamp {
    let device = (u64::from(stat.dev.0) << 32) | u64::from(stat.dev.1);
    Stamp { device, inode: stat.ino, size: stat.size, mtime: nanos(stat.mtime), ctime: nanos(stat.ctime) }
}

fn nanos(time: Time) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanoseconds))
}

fn is_racy(stamp: &Stamp) -> bool {
    let limit = SystemTime::now().checked_sub(RACY).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let limit = limit.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0);
    stamp.mtime.max(stamp.ctime) >= limit
}

/// The bytes of a SHA-256.
fn raw(digest: &Digest) -> Option<[u8; 32]> {
    let hex = digest.hex().as_bytes();
    let mut raw = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in raw.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(raw)
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("known", &self.known.len()).finish_non_exhaustive()
    }
}
