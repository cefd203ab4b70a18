//! Durability: after a power cut a layer or blob is whole or absent, and nobody waits for a disk in the middle of a build.
//!
//! The rule. Files are written without `fsync`. The transaction that makes a blob or a snapshot known also *marks* it in the
//! table `unsynced` with this boot's id. [`Syncer::sync`] calls `syncfs` once and then deletes the marks that were there
//! before the call, so that everything known at that moment is durable. Whoever opens the store and finds marks of another
//! boot knows that the machine stopped before a sync: what is marked may be empty files, and is dropped.
//!
//! Why this cannot go wrong. Rows and marks are written in one transaction, so no row is on disk without its mark. Marks go
//! only after `syncfs` has returned. A child is committed after its parent, so a child without a mark has a parent without one.
//! An image gets its name by a durable commit after a sync (`images.rs`), so a named image is whole.
//!
//! What it costs: a write of 3 µs a blob or snapshot, and one `syncfs` when an image is named or a command ends.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_oci::Digest;
use rusqlite::{Connection, params};

use crate::content::remove_if_there;
use crate::db::{Db, Durability};
use crate::error::{Error, IoContext, Result};

/// What can be marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Snapshot,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Blob => "blob",
            Kind::Snapshot => "snapshot",
        }
    }
}

/// Makes what was written durable.
#[derive(Debug, Clone)]
pub struct Syncer {
    root: PathBuf,
    db: Arc<Db>,
}

impl Syncer {
    pub(crate) fn new(root: PathBuf, db: Arc<Db>) -> Self {
        Syncer { root, db }
    }

    /// Syncs the store's file system if anything was written since the last sync, by any process.
    ///
    /// Takes up to a second for each few hundred megabytes that are still in memory, and nothing when there are none.
    pub fn sync(&self) -> Result<()> {
        let Some(last) = self.db.read("list unsynced", last_mark)? else { return Ok(()) };
        kiln_snapshot::sync_filesystem(&self.root).map_err(|source| Error::Snapshot {
            operation: "sync the file system of",
            object: self.root.display().to_string(),
            source,
        })?;
        self.db.write("mark as synced", Durability::Relaxed, |db| {
            db.prepare_cached("DELETE FROM unsynced WHERE seq <= ?1")?.execute([last])?;
            Ok(())
        })
    }

    /// Whether everything known is durable.
    pub fn is_synced(&self) -> Result<bool> {
        Ok(self.db.read("list unsynced", last_mark)?.is_none())
    }
}

/// What a power cut took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) blobs: usize,
    pub(crate) snapshots: usize,
}

/// Marks something in the transaction that makes it known.
pub(crate) fn mark(db: &Connection, kind: Kind, name: &str) -> Result<()> {
    db.prepare_cached("INSERT INTO unsynced (boot, kind, name) VALUES (?1, ?2, ?3)")?.execute(params![
        boot_id()?,
        kind.as_str(),
        name
    ])?;
    Ok(())
}

/// Forgets what the last boot did not sync; `blob_path` says where a blob's file is.
///
/// A lost snapshot keeps its row under a name that nobody asks for, because a container may stand on it; garbage collection
/// removes it when nothing does.
pub(crate) fn drop_lost(db: &Db, blob_path: impl Fn(&Digest) -> PathBuf) -> Result<Lost> {
    let boot = boot_id()?;
    let any = db.read("list unsynced", |db| {
        Ok(db.prepare_cached("SELECT 1 FROM unsynced WHERE boot <> ?1")?.exists([boot])?)
    })?;
    if !any {
        return Ok(Lost::default());
    }
    db.write("drop what was not synced", Durability::Durable, |db| {
        let marks = marks_of_other_boots(db, boot)?;
        let mut lost = Lost::default();
        for (kind, name) in marks {
            if kind == Kind::Blob.as_str() {
                db.execute("DELETE FROM blobs WHERE digest = ?1", [&name])?;
                if let Ok(digest) = name.parse() {
                    remove_if_there(&blob_path(&digest))?;
                }
                lost.blobs += 1;
            } else {
                lost.snapshots += db.execute(
                    "UPDATE snapshots SET name = 'lost/' || id WHERE name = ?1 AND kind = 2",
                    [&name],
                )?;
            }
        }
        db.execute("DELETE FROM unsynced WHERE boot <> ?1", [boot])?;
        Ok(lost)
    })
}

fn marks_of_other_boots(db: &Connection, boot: &str) -> Result<Vec<(String, String)>> {
    let mut statement = db.prepare("SELECT kind, name FROM unsynced WHERE boot <> ?1")?;
    let rows = statement.query_map([boot], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn last_mark(db: &Connection) -> Result<Option<i64>> {
    Ok(db.prepare_cached("SELECT max(seq) FROM unsynced")?.query_row([], |row| row.get(0))?)
}

/// The kernel's name for the time since it started.
fn boot_id() -> Result<&'static str> {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(id) = BOOT.get() {
        return Ok(id);
    }
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    let id = fs::read_to_string(&path).at("read", &path)?;
    Ok(BOOT.get_or_init(|| id.trim().to_owned()))
}
