//! Durability: after a power cut a layer or blob is whole or absent, and nobody waits for a disk in the middle of a build.
//!
//! The rule. Files are written without `fsync`. The transaction that makes a blob, a snapshot or an image known also *marks* it
//! in the table `unsynced` with this boot's id. [`Syncer::sync`] calls `syncfs` once and then deletes the marks that were there
//! before the call, so that everything known at that moment is durable. Whoever opens the store and finds marks of another
//! boot knows that the machine stopped before a sync: what is marked may be empty files, and is dropped.
//!
//! Why this cannot go wrong. Rows and marks are written in one transaction, so no row is on disk without its mark. Marks go
//! only after `syncfs` has returned. A child is committed after its parent, and an image after all that it is made of, so one
//! without a mark stands on nothing that has one. An image that is dropped loses its names; a name that meant another image
//! before means that one again.
//!
//! Who syncs. Nobody waits for it: naming an image of 170 MB would take 0.5 s instead of 2 ms on an idle disk, and seconds on a
//! busy one, and would hold up a build or a pull whose result is already usable. Whoever has named images calls
//! [`Syncer::sync`] afterwards, in a process of its own where it is about to end (the engine's `sync_later`). The price is
//! a window, as long as the disk takes to write: a power cut in it means pulling or building again, and never an image
//! with wrong files. If the syncing process is killed, the marks stay until the next one syncs. Deleting images, and naming
//! those that are durable already, is durable at once.
//!
//! What it costs: a write of 3 µs for each blob, snapshot and image.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use crate::content::remove_if_there;
use crate::db::{DATABASE, Db, Durability};
use crate::error::{Error, IoContext, Result};

/// What can be marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Snapshot,
    Image,
    /// An image's name that meant another one before; its mark is `<digest of that one> <name>`.
    Name,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Blob => "blob",
            Kind::Snapshot => "snapshot",
            Kind::Image => "image",
            Kind::Name => "name",
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

    /// Syncs the store at `root`, if there is one, without opening all of it: for a process that does nothing else.
    pub fn sync_root(root: &Path) -> Result<()> {
        let path = root.join(DATABASE);
        if !path.exists() {
            return Ok(());
        }
        let db = Arc::new(Db::open(&path)?);
        db.take_time()?;
        Syncer::new(root.to_owned(), db).sync()
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
    pub(crate) images: usize,
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
        let of =
            |kind: Kind| marks.iter().filter(move |mark| mark.0 == kind.as_str()).map(|mark| mark.1.as_str());
        let mut lost = Lost::default();
        for name in of(Kind::Blob) {
            db.execute("DELETE FROM blobs WHERE digest = ?1", [name])?;
            if let Ok(digest) = name.parse() {
                remove_if_there(&blob_path(&digest))?;
            }
            lost.blobs += 1;
        }
        for name in of(Kind::Snapshot) {
            let sql = "UPDATE snapshots SET name = 'lost/' || id WHERE name = ?1 AND kind = 2";
            lost.snapshots += db.execute(sql, [name])?;
        }
        lost.images = drop_images(db, &of(Kind::Image).collect::<Vec<_>>(), of(Kind::Name))?;
        db.execute("DELETE FROM unsynced WHERE boot <> ?1", [boot])?;
        Ok(lost)
    })
}

/// Drops images. `names` are the marks of names that were moved, the last move first: they move back, as far as they mean an
/// image that is dropped.
fn drop_images<'a>(db: &Connection, images: &[&str], names: impl Iterator<Item = &'a str>) -> Result<usize> {
    for (before, name) in names.filter_map(|mark| mark.split_once(' ')) {
        let sql = "SELECT digest FROM tags WHERE name = ?1";
        let now: Option<String> = db.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
        if now.is_some_and(|now| images.contains(&now.as_str())) {
            db.execute("UPDATE tags SET digest = ?1 WHERE name = ?2", [before, name])?;
        }
    }
    let mut dropped = 0;
    for digest in images {
        dropped += db.execute("DELETE FROM images WHERE digest = ?1", [digest])?;
    }
    if dropped > 0 {
        db.execute("DELETE FROM tags WHERE digest NOT IN (SELECT digest FROM images)", [])?;
    }
    Ok(dropped)
}

/// The marks of earlier boots, the newest first.
fn marks_of_other_boots(db: &Connection, boot: &str) -> Result<Vec<(String, String)>> {
    let mut statement = db.prepare("SELECT kind, name FROM unsynced WHERE boot <> ?1 ORDER BY seq DESC")?;
    let rows = statement.query_map([boot], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn last_mark(db: &Connection) -> Result<Option<i64>> {
    Ok(db.prepare_cached("SELECT max(seq) FROM unsynced")?.query_row([], |row| row.get(0))?)
}

/// Whether something is marked.
pub(crate) fn is_marked(db: &Connection, kind: Kind, name: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM unsynced WHERE kind = ?1 AND name = ?2";
    Ok(db.prepare_cached(sql)?.exists([kind.as_str(), name])?)
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
