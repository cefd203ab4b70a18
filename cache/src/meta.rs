//! The snapshotter's rows in the database.

use kiln_snapshot::meta::{ActiveRow, CommittedRow, Place};
use kiln_snapshot::{Error, Info, Key, Kind, MetaStore, Name, Result};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

use crate::db::{Db, Durability, now, time};
use crate::lease::{self, Resource};
use crate::sync;

/// A [`MetaStore`] on the database of a store.
#[derive(Debug)]
pub(crate) struct SqliteMeta {
    db: Arc<Db>,
}

impl SqliteMeta {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        SqliteMeta { db }
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> Step<T>) -> Result<T> {
        flatten(self.db.read("read snapshots", |db| split(f(db))))
    }

    fn write<T>(&self, f: impl FnOnce(&Connection) -> Step<T>) -> Result<T> {
        flatten(self.db.write("write snapshots", Durability::Relaxed, |db| split(f(db))))
    }
}

impl MetaStore for SqliteMeta {
    fn create(&self, key: &Key, kind: Kind, parent: Option<&Name>) -> Result<ActiveRow> {
        self.write(|db| {
            if find(db, &key.0, false)?.is_some() {
                return Err(Error::Exists(key.0.clone()).into());
            }
            let parent = parent.map(|name| require(db, &name.0, true)).transpose()?.map(|row| row.id);
            db.prepare_cached("INSERT INTO snapshots (kind, name, parent, created) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![number(kind), key.0, parent, now()])?;
            let id = db.last_insert_rowid().cast_unsigned();
            Ok(ActiveRow { id, kind, parents: ancestors(db, parent)? })
        })
    }

    fn active(&self, key: &Key) -> Result<Option<ActiveRow>> {
        self.read(|db| {
            let Some(row) = find(db, &key.0, false)? else { return Ok(None) };
            Ok(Some(ActiveRow {
                id: row.id.cast_unsigned(),
                kind: row.kind,
                parents: ancestors(db, row.parent)?,
            }))
        })
    }

    fn place(&self, key: &Key) -> Result<Option<Place>> {
        self.read(|db| Ok(find(db, &key.0, false)?.map(|row| row.place())))
    }

    fn commit(&self, name: &Name, key: &Key) -> Result<u64> {
        self.write(|db| {
            let row = require(db, &key.0, false)?;
            if row.kind != Kind::Active {
                let (actual, wanted) = (row.kind.as_str(), Kind::Active.as_str());
                return Err(Error::WrongKind { name: key.0.clone(), actual, wanted }.into());
            }
            if find(db, &name.0, true)?.is_some() {
                return Err(Error::Exists(name.0.clone()).into());
            }
            db.prepare_cached("UPDATE snapshots SET kind = 2, name = ?2, created = ?3 WHERE id = ?1")?
                .execute(params![row.id, name.0, now()])?;
            sync::mark(db, sync::Kind::Snapshot, &name.0)?;
            lease::forget(db, &Resource::Active(key.clone()))?;
            Ok(row.id.cast_unsigned())
        })
    }

    fn remove_active(&self, key: &Key) -> Result<Option<u64>> {
        self.write(|db| {
            let Some(row) = find(db, &key.0, false)? else { return Ok(None) };
            delete(db, row.id)?;
            lease::forget(db, &Resource::Active(key.clone()))?;
            Ok(Some(row.id.cast_unsigned()))
        })
    }

    fn committed(&self, name: &Name) -> Result<Option<CommittedRow>> {
        self.read(|db| {
            let Some(row) = find(db, &name.0, true)? else { return Ok(None) };
            let parent = row.parent.map(|id| name_of(db, id)).transpose()?.map(Name);
            let info = Info { name: name.clone(), parent, created: time(row.created) };
            Ok(Some(CommittedRow { place: row.place(), info }))
        })
    }

    /// Refuses while somebody holds the snapshot, so that a collector cannot overtake a lease.
    fn remove(&self, name: &Name) -> Result<u64> {
        self.write(|db| {
            let row = require(db, &name.0, true)?;
            let child = child_of(db, row.id)?;
            let holder = lease::is_held(db, &Resource::Snapshot(name.clone()))?.then(|| "a lease".to_owned());
            if let Some(child) = child.or(holder) {
                return Err(Error::InUse { name: name.0.clone(), child }.into());
            }
            delete(db, row.id)?;
            Ok(row.id.cast_unsigned())
        })
    }

    fn has_id(&self, id: u64) -> Result<bool> {
        self.read(|db| {
            Ok(db.prepare_cached("SELECT 1 FROM snapshots WHERE id = ?1")?.exists([id.cast_signed()])?)
        })
    }
}

/// A transaction's failure is the snapshotter's or the database's.
type Step<T> = std::result::Result<T, Failure>;

enum Failure {
    Snapshot(Error),
    Store(crate::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Snapshot(error)
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Failure::Store(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Store(error.into())
    }
}

/// Carries a snapshotter's error through [`Db::write`], which must see an error to roll back.
fn split<T>(step: Step<T>) -> crate::Result<T> {
    step.map_err(|failure| match failure {
        Failure::Store(error) => error,
        Failure::Snapshot(source) => {
            crate::Error::Snapshot { operation: "write snapshots", object: String::new(), source }
        }
    })
}

fn flatten<T>(result: crate::Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        crate::Error::Snapshot { source, .. } => source,
        other => Error::Meta(Box::new(other)),
    })
}

struct Row {
    id: i64,
    kind: Kind,
    parent: Option<i64>,
    created: i64,
}

impl Row {
    fn place(&self) -> Place {
        Place { id: self.id.cast_unsigned(), parent: self.parent.map(i64::cast_unsigned) }
    }
}

fn find(db: &Connection, name: &str, committed: bool) -> Step<Option<Row>> {
    let sql = if committed {
        "SELECT id, kind, parent, created FROM snapshots WHERE name = ?1 AND (kind = 2) = 1"
    } else {
        "SELECT id, kind, parent, created FROM snapshots WHERE name = ?1 AND (kind = 2) = 0"
    };
    let row = db.prepare_cached(sql)?.query_row([name], |row| {
        Ok(Row { id: row.get(0)?, kind: kind(row.get(1)?), parent: row.get(2)?, created: row.get(3)? })
    });
    Ok(row.optional()?)
}

fn require(db: &Connection, name: &str, committed: bool) -> Step<Row> {
    find(db, name, committed)?.ok_or_else(|| Error::NotFound(name.to_owned()).into())
}

/// The ids from `parent` down to the bottom. One that is not there fails: a shorter stack would be another filesystem.
fn ancestors(db: &Connection, parent: Option<i64>) -> Step<Vec<u64>> {
    let Some(parent) = parent else { return Ok(Vec::new()) };
    let mut statement = db.prepare_cached(
        "WITH RECURSIVE below (id, depth) AS (
             SELECT ?1, 0
             UNION ALL SELECT parent, depth + 1 FROM snapshots JOIN below USING (id) WHERE parent IS NOT NULL
             ORDER BY 2
         ) SELECT snapshots.id FROM below LEFT JOIN snapshots USING (id) ORDER BY depth",
    )?;
    let ids = statement.query_map([parent], |row| row.get::<_, i64>(0))?;
    Ok(ids.map(|id| id.map(i64::cast_unsigned)).collect::<Result<_, _>>()?)
}

fn name_of(db: &Connection, id: i64) -> Step<String> {
    Ok(db.prepare_cached("SELECT name FROM snapshots WHERE id = ?1")?.query_row([id], |row| row.get(0))?)
}

fn child_of(db: &Connection, id: i64) -> Step<Option<String>> {
    let mut statement = db.prepare_cached("SELECT name FROM snapshots WHERE parent = ?1 LIMIT 1")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?)
}

fn delete(db: &Connection, id: i64) -> Step<()> {
    db.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?.execute([id])?;
    Ok(())
}

fn number(kind: Kind) -> i64 {
    match kind {
        Kind::Active => 0,
        Kind::View => 1,
        Kind::Committed => 2,
    }
}

fn kind(number: i64) -> Kind {
    match number {
        0 => Kind::Active,
        1 => Kind::View,
        _ => Kind::Committed,
    }
}
