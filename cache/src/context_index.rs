//! The context index: digests of the files of a build context, valid while their stat data is unchanged.
//!
//! Trees that did not change at all are known by the digest of their stat data alone. For others there is one row a directory,
//! its entries packed: a context of twenty thousand files in four hundred directories is read in a millisecond, and a changed
//! file rewrites its directory's row. The caller applies git's rule for racy files: a file whose mtime is not older than the
//! scan is not put in.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::db::{Db, Durability};
use crate::error::Result;

/// Trees that are remembered of one context: each copy takes one, and each edit makes another.
const MAX_TREES: usize = 256;

/// What `statx` says of a file; any difference makes its digest void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The file system.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of anything, nanoseconds since 1970.
    pub ctime: i64,
}

/// A file of an indexed directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in its directory, any bytes.
    pub name: Box<[u8]>,
    /// Its stat data when it was read.
    pub stamp: Stamp,
    /// SHA-256 of its content.
    pub content: [u8; 32],
}

/// The entries of one directory, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirIndex {
    entries: Vec<Entry>,
}

impl DirIndex {
    /// An index of these entries; of several with one name, one.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        DirIndex { entries }
    }

    /// The SHA-256 of the file `name`, if its stat data is still the same.
    pub fn get(&self, name: &[u8], stamp: &Stamp) -> Option<&[u8; 32]> {
        let at = self.entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        let entry = &self.entries[at];
        (entry.stamp == *stamp).then_some(&entry.content)
    }

    /// Its entries, sorted by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// A tree that was read whole, or what a copy takes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// SHA-256 of the stat data of all that is in it.
    pub stamp: [u8; 32],
    /// SHA-256 of what is in it.
    pub content: [u8; 32],
}

/// What was learned of a context.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Directories by their path, each replacing what was known of it.
    pub changed: Vec<(Vec<u8>, DirIndex)>,
    /// Directories that are not there any more.
    pub gone: Vec<Vec<u8>>,
    /// Trees that were read.
    pub trees: Vec<Tree>,
}

/// What is remembered of one context: directories by their path relative to its root, `b""` being the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextIndex {
    dirs: HashMap<Box<[u8]>, DirIndex>,
}

impl ContextIndex {
    /// What is remembered of the directory `path`.
    pub fn dir(&self, path: &[u8]) -> Option<&DirIndex> {
        self.dirs.get(path)
    }

    /// The paths of its directories.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.dirs.keys().map(AsRef::as_ref)
    }

    /// How many directories it has.
    pub fn len(&self) -> usize {
        self.dirs.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }
}

/// All context indexes of a store.
#[derive(Debug, Clone)]
pub struct ContextIndexes {
    db: Arc<Db>,
}

impl ContextIndexes {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        ContextIndexes { db }
    }

    /// Reads all that is remembered of the context at `root` (its absolute path).
    pub fn load(&self, root: &[u8]) -> Result<ContextIndex> {
        self.db.read("load context index", |db| {
            let mut statement = db.prepare_cached("SELECT dir, entries FROM context_dirs WHERE root = ?1")?;
            let mut rows = statement.query([root])?;
            let mut dirs = HashMap::new();
            while let Some(row) = rows.next()? {
                let dir: Box<[u8]> = row.get_ref(0)?.as_blob().unwrap_or_default().into();
                // A row that we cannot read is a directory that we do not know.
                if let Some(entries) = decode(row.get_ref(1)?.as_blob().unwrap_or_default()) {
                    dirs.insert(dir, DirIndex { entries });
                }
            }
            Ok(ContextIndex { dirs })
        })
    }

    /// The digest of what a tree of the context at `root` has, by that of its stat data.
    pub fn tree(&self, root: &[u8], stamp: &[u8; 32]) -> Result<Option<[u8; 32]>> {
        self.db.read("look up context tree", |db| {
            let sql = "SELECT content FROM context_trees WHERE root = ?1 AND stamp = ?2";
            let row = db.prepare_cached(sql)?.query_row(params![root, stamp], |row| row.get(0));
            Ok(row.optional()?)
        })
    }

    /// Puts in what was learned of the context at `root`, in one transaction.
    pub fn save(&self, root: &[u8], changes: &Changes) -> Result<()> {
        let Changes { changed, gone, trees } = changes;
        if changed.is_empty() && gone.is_empty() && trees.is_empty() {
            return Ok(());
        }
        self.db.write("save context index", Durability::Relaxed, |db| {
            changed.iter().try_for_each(|(dir, index)| save_dir(db, root, dir, index))?;
            let mut delete = db.prepare_cached("DELETE FROM context_dirs WHERE root = ?1 AND dir = ?2")?;
            gone.iter().try_for_each(|dir| delete.execute(params![root, dir]).map(drop))?;
            trees.iter().try_for_each(|tree| save_tree(db, root, tree))?;
            Ok(())
        })
    }
}

/// Forgets the contexts whose directories are gone, as those of builds from temporary ones. Returns how many.
pub(crate) fn forget_gone(db: &Connection) -> Result<usize> {
    let sql = "SELECT root FROM context_dirs UNION SELECT root FROM context_trees";
    let mut statement = db.prepare(sql)?;
    let roots = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?.collect::<Result<Vec<_>, _>>()?;
    let is_gone = |root: &&Vec<u8>| !Path::new(OsStr::from_bytes(root)).is_dir();
    let gone: Vec<&Vec<u8>> = roots.iter().filter(is_gone).collect();
    for sql in ["DELETE FROM context_dirs WHERE root = ?1", "DELETE FROM context_trees WHERE root = ?1"] {
        let mut delete = db.prepare(sql)?;
        gone.iter().try_for_each(|root| delete.execute([root]).map(drop))?;
    }
    Ok(gone.len())
}

fn save_dir(db: &Connection, root: &[u8], dir: &[u8], index: &DirIndex) -> Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO context_dirs (root, dir, entries) VALUES (?1, ?2, ?3)")?
        .execute(params![root, dir, encode(&index.entries)])?;
    Ok(())
}

/// The oldest of a context give way.
fn save_tree(db: &Connection, root: &[u8], tree: &Tree) -> Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO context_trees (root, stamp, content) VALUES (?1, ?2, ?3)")?
        .execute(params![root, tree.stamp, tree.content])?;
    db.prepare_cached(
        "DELETE FROM context_trees WHERE root = ?1 AND rowid <= (
             SELECT rowid FROM context_trees WHERE root = ?1 ORDER BY rowid DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![root, MAX_TREES])?;
    Ok(())
}

/// Entries one after the other: length of the name (2 bytes), name, five numbers of 8 bytes, digest; little endian.
fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * 96);
    for Entry { name, stamp, content } in entries {
        let Stamp { device, inode, size, mtime, ctime } = *stamp;
        // The kernel's names have at most 255 bytes.
        let Ok(length) = u16::try_from(name.len()) else { continue };
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(name);
        for number in [device, inode, size, mtime.cast_unsigned(), ctime.cast_unsigned()] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(content);
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::with_capacity(bytes.len() / 90);
    while !bytes.is_empty() {
        let length = u16::from_le_bytes(*take(&mut bytes)?);
        let (name, rest) = bytes.split_at_checked(usize::from(length))?;
        bytes = rest;
        let mut number = || take(&mut bytes).map(|raw| u64::from_le_bytes(*raw));
        let (device, inode, size) = (number()?, number()?, number()?);
        let (mtime, ctime) = (number()?.cast_signed(), number()?.cast_signed());
        let content = *take(&mut bytes)?;
        entries.push(Entry {
            name: name.into(),
            stamp: Stamp { device, inode, size, mtime, ctime },
            content,
        });
    }
    Some(entries)
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, inode: u64) -> Entry {
        let stamp = Stamp { device: 7, inode, size: 3, mtime: -5, ctime: 1 << 60 };
        Entry { name: name.as_bytes().into(), stamp, content: [inode as u8; 32] }
    }

    #[test]
    fn entries_survive_packing() {
        let entries = vec![entry("", 0), entry("a", 1), entry("ü\n", 2)];
        assert_eq!(decode(&encode(&entries)), Some(entries.clone()));
        let packed = encode(&entries);
        assert_eq!(decode(&packed[..packed.len() - 1]), None);
    }

    #[test]
    fn any_change_of_stat_data_voids_the_digest() {
        let index = DirIndex::new(vec![entry("b", 2), entry("a", 1)]);
        let stamp = index.entries()[0].stamp;
        assert_eq!(index.get(b"a", &stamp), Some(&[1; 32]));
        assert_eq!(index.get(b"c", &stamp), None);
        for changed in [
            Stamp { device: 8, ..stamp },
            Stamp { inode: 2, ..stamp },
            Stamp { size: 4, ..stamp },
            Stamp { mtime: -6, ..stamp },
            Stamp { ctime: 0, ..stamp },
        ] {
            assert_eq!(index.get(b"a", &changed), None);
        }
    }
}
