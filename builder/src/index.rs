//! The index of a local context: digests of files that did not change since they were last read.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_cache::Store;
use kiln_cache::context_index::{Changes, ContextIndex, DirIndex, Entry, Stamp, Tree};
use kiln_oci::Digest;
use kiln_snapshot::checksum::{Memo, Sum};
use kiln_sys::fs::{Stat, Time};

use crate::tree::nanoseconds;

/// A file that changed so shortly before the context was read may change again without its times telling (git's racy rule):
/// the kernel stamps files with the time of the last timer tick.
const RACY: Duration = Duration::from_millis(20);

/// What is known of one context. What it learns is saved when it is dropped.
pub(crate) struct Index {
    store: Arc<Store>,
    root: Vec<u8>,
    /// What is known of files; not needed where nothing changed.
    known: OnceLock<ContextIndex>,
    learned: Mutex<HashMap<Vec<u8>, Vec<Entry>>>,
    trees: Mutex<Vec<Tree>>,
    /// Files that changed since then, nanoseconds since 1970, may change again without their times telling.
    racy_since: i64,
}

impl Index {
    /// The index of the context at `path`. What cannot be read is not known.
    pub(crate) fn load(store: &Arc<Store>, path: &Path) -> Index {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let root = path.as_os_str().as_bytes().to_vec();
        Index {
            store: store.clone(),
            root,
            known: OnceLock::new(),
            learned: Mutex::default(),
            trees: Mutex::default(),
            racy_since: racy_since(),
        }
    }

    /// The digest of what was listed with this stamp, if it was read before.
    pub(crate) fn tree(&self, stamp: &Digest) -> Option<Digest> {
        let content = self.store.contexts.tree(&self.root, &stamp.to_sha256()?).ok()??;
        Some(Digest::from_sha256(&content))
    }

    /// Remembers the digest of what was listed with a stamp, and changed last at `newest`.
    pub(crate) fn put_tree(&self, stamp: &Digest, newest: Time, digest: &Digest) {
        let is_racy = nanoseconds(newest) >= self.racy_since;
        let (Some(stamp), Some(content), false) = (stamp.to_sha256(), digest.to_sha256(), is_racy) else {
            return;
        };
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).push(Tree { stamp, content });
    }

    fn known(&self) -> &ContextIndex {
        self.known.get_or_init(|| self.store.contexts.load(&self.root).unwrap_or_default())
    }

    /// The entries of a directory with what was learned put in, without files that are gone.
    fn merged(&self, dir: &[u8], mut learned: Vec<Entry>) -> DirIndex {
        let known = self.known().dir(dir).map(DirIndex::entries).unwrap_or_default();
        if !known.is_empty() {
            let mut names = self.names(dir);
            for entry in &learned {
                names.remove(&*entry.name);
            }
            learned.extend(known.iter().filter(|entry| names.contains(&*entry.name)).cloned());
        }
        DirIndex::new(learned)
    }

    /// What is in a directory of the context now.
    fn names(&self, dir: &[u8]) -> HashSet<Vec<u8>> {
        let entries = std::fs::read_dir(self.path(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_vec()).collect()
    }

    /// The directories that are known and gone.
    fn gone(&self) -> Vec<Vec<u8>> {
        let is_gone = |dir: &&[u8]| !self.path(dir).is_dir();
        self.known().paths().filter(is_gone).map(<[u8]>::to_vec).collect()
    }

    fn path(&self, dir: &[u8]) -> PathBuf {
        Path::new(OsStr::from_bytes(&self.root)).join(OsStr::from_bytes(dir))
    }
}

impl Memo for Index {
    fn get(&self, path: &[u8], stat: &Stat) -> Option<Sum> {
        let (dir, name) = split(path);
        self.known().dir(dir)?.get(name, &stamp(stat)).copied()
    }

    fn put(&self, path: &[u8], stat: &Stat, sum: &Sum) {
        let stamp = stamp(stat);
        if stamp.mtime.max(stamp.ctime) >= self.racy_since {
            return;
        }
        let (dir, name) = split(path);
        let entry = Entry { name: name.into(), stamp, content: *sum };
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        match learned.get_mut(dir) {
            Some(entries) => {
                // By an eighth and not by half: of a hundred thousand files the unused part counts.
                if entries.len() == entries.capacity() {
                    entries.reserve_exact(entries.len() / 8 + 4);
                }
                entries.push(entry);
            }
            None => drop(learned.insert(dir.to_vec(), vec![entry])),
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let learned = std::mem::take(self.learned.get_mut().unwrap_or_else(PoisonError::into_inner));
        let trees = std::mem::take(self.trees.get_mut().unwrap_or_else(PoisonError::into_inner));
        if learned.is_empty() && trees.is_empty() {
            return;
        }
        let dirs = learned.into_iter().map(|(dir, entries)| {
            let merged = self.merged(&dir, entries);
            (dir, merged)
        });
        let changed: Vec<_> = dirs.collect();
        let gone = if changed.is_empty() { Vec::new() } else { self.gone() };
        // Without it the next build reads the files again; nothing is wrong then.
        drop(self.store.contexts.save(&self.root, &Changes { changed, gone, trees }));
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
    let (mtime, ctime) = (nanoseconds(stat.mtime), nanoseconds(stat.ctime));
    Stamp { device, inode: stat.ino, size: stat.size, mtime, ctime }
}

fn racy_since() -> i64 {
    let limit = SystemTime::now().checked_sub(RACY).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    limit.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("root", &OsStr::from_bytes(&self.root)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kiln_cache::StoreOptions;
    use kiln_snapshot::checksum::{ChecksumOptions, checksum};
    use kiln_sys::fs::Root;

    use super::*;

    /// Reads the context at `path` as a build does, long enough after its files were written that they are trusted.
    fn read(store: &Arc<Store>, path: &Path) -> ContextIndex {
        std::thread::sleep(RACY * 2);
        let index = Index::load(store, path);
        let options = ChecksumOptions { memo: Some(&index), ..ChecksumOptions::default() };
        checksum(&Root::open(path).unwrap(), Path::new("."), &options).unwrap();
        drop(index);
        store.contexts.load(path.as_os_str().as_bytes()).unwrap()
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let context = dir.path().join("context");
        let write = |name: &str, text: &str| std::fs::write(context.join(name), text).unwrap();
        std::fs::create_dir_all(context.join("kept")).unwrap();
        std::fs::create_dir_all(context.join("gone/deep")).unwrap();
        for name in ["kept/a", "kept/b", "gone/deep/c"] {
            write(name, name);
        }
        let store = Arc::new(Store::open(&dir.path().join("state"), &StoreOptions::default()).unwrap());
        assert_eq!(read(&store, &context).len(), 2);
        std::fs::remove_dir_all(context.join("gone")).unwrap();
        std::fs::remove_file(context.join("kept/a")).unwrap();
        write("kept/b", "changed");
        let index = read(&store, &context);
        assert_eq!(index.paths().collect::<Vec<_>>(), [b"kept"]);
        let names: Vec<_> = index.dir(b"kept").unwrap().entries().iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, [b"b"]);
        std::fs::remove_dir_all(&context).unwrap();
        store.collect().unwrap();
        assert!(store.contexts.load(context.as_os_str().as_bytes()).unwrap().is_empty());
    }
}
