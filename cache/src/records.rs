//! Build results by cache key.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use kiln_oci::Digest;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::db::{Db, Durability, lock, now};
use crate::error::{Error, Result};
use crate::layers::{LayerRef, are_available};

/// The result of a step and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The layers, bottom first.
    pub layers: Vec<LayerRef>,
    /// What the step is called, as in `[build 2/3] RUN make`: records of one place, the beginning of that, are compared to explain a miss.
    pub scope: String,
    /// What the key was computed of, by name: for explanations only.
    pub parts: Vec<Part>,
}

/// One component of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is, as in `file src/main.c` or `build argument VERSION`.
    pub name: String,
    /// Its value or digest.
    pub value: String,
}

/// The build cache.
#[derive(Debug)]
pub struct BuildCache {
    db: Arc<Db>,
    /// Keys that were hit and whose time of use is not written yet.
    used: Mutex<HashSet<String>>,
}

impl BuildCache {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        BuildCache { db, used: Mutex::default() }
    }

    /// The result under `key` or what it is an alias of, if its layers can still be had.
    pub fn lookup(&self, key: &Digest) -> Result<Option<Record>> {
        let found = self.db.read("look up build result", |db| {
            let Some((key, record)) = find(db, key)? else { return Ok(None) };
            Ok(are_available(db, &record.layers)?.then_some((key, record)))
        })?;
        Ok(found.map(|(key, record)| {
            lock(&self.used).insert(key);
            record
        }))
    }

    /// Remembers a result.
    pub fn save(&self, key: &Digest, record: &Record) -> Result<()> {
        self.save_as(key, record, key)
    }

    /// Remembers a result under `key`, and lets `alias` mean the same.
    pub fn save_as(&self, key: &Digest, record: &Record, alias: &Digest) -> Result<()> {
        let layers = to_json(&record.layers, key)?;
        let parts = to_json(&record.parts, key)?;
        self.db.write("save build result", Durability::Relaxed, |db| {
            db.prepare_cached("DELETE FROM aliases WHERE key = ?1")?.execute([key.as_str()])?;
            db.prepare_cached(
                "INSERT OR REPLACE INTO records (key, layers, scope, parts, created, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
            )?
            .execute(params![key.as_str(), layers, record.scope, parts, now()])?;
            insert_alias(db, alias, key)
        })
    }

    /// Lets `key` mean what `canonical` means.
    pub fn alias(&self, key: &Digest, canonical: &Digest) -> Result<()> {
        self.db.write("save alias", Durability::Relaxed, |db| insert_alias(db, key, canonical))
    }

    /// The newest records whose scope begins with `prefix`, at most `limit` of them, newest first.
    pub fn similar(&self, prefix: &str, limit: usize) -> Result<Vec<Record>> {
        self.db.read("look up build results", |db| {
            let sql = "SELECT key, layers, scope, parts FROM records
                       WHERE scope BETWEEN ?1 AND ?1 || char(1114111) ORDER BY created DESC LIMIT ?2";
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map(params![prefix, limit], Row::read)?;
            rows.map(|row| row.map_err(Error::from).and_then(Row::parse)).collect()
        })
    }

    /// Writes down which records were used since the last call; garbage collection goes by it.
    pub fn flush(&self) -> Result<()> {
        let keys = std::mem::take(&mut *lock(&self.used));
        if keys.is_empty() {
            return Ok(());
        }
        self.db.write("save use of build results", Durability::Relaxed, |db| {
            let mut statement = db.prepare_cached("UPDATE records SET used = ?2 WHERE key = ?1")?;
            keys.iter().try_for_each(|key| statement.execute(params![key, now()]).map(drop))?;
            Ok(())
        })
    }
}

impl Drop for BuildCache {
    fn drop(&mut self) {
        // Only the order of collection is lost if this fails.
        let _ = self.flush();
    }
}

/// A record's columns.
struct Row {
    key: String,
    layers: String,
    scope: String,
    parts: String,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        Ok(Row { key: row.get(0)?, layers: row.get(1)?, scope: row.get(2)?, parts: row.get(3)? })
    }

    fn parse(self) -> Result<Record> {
        let layers = from_json(&self.layers, &self.key)?;
        let parts = from_json(&self.parts, &self.key)?;
        Ok(Record { layers, scope: self.scope, parts })
    }
}

fn insert_alias(db: &Connection, key: &Digest, canonical: &Digest) -> Result<()> {
    if key != canonical {
        db.prepare_cached("INSERT OR REPLACE INTO aliases (key, target) VALUES (?1, ?2)")?
            .execute([key.as_str(), canonical.as_str()])?;
    }
    Ok(())
}

fn find(db: &Connection, key: &Digest) -> Result<Option<(String, Record)>> {
    if let Some(row) = row(db, key.as_str())? {
        return Ok(Some((row.key.clone(), row.parse()?)));
    }
    let mut statement = db.prepare_cached("SELECT target FROM aliases WHERE key = ?1")?;
    let Some(target) = statement.query_row([key.as_str()], |row| row.get::<_, String>(0)).optional()? else {
        return Ok(None);
    };
    let row = row(db, &target)?;
    row.map(|row| Ok((row.key.clone(), row.parse()?))).transpose()
}

fn row(db: &Connection, key: &str) -> Result<Option<Row>> {
    let mut statement = db.prepare_cached("SELECT key, layers, scope, parts FROM records WHERE key = ?1")?;
    Ok(statement.query_row([key], Row::read).optional()?)
}

/// The layers of every record.
pub(crate) fn all_layers(db: &Connection) -> Result<Vec<Vec<LayerRef>>> {
    let mut statement = db.prepare_cached("SELECT key, layers FROM records")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| row.map_err(Error::from).and_then(|(key, layers)| from_json(&layers, &key))).collect()
}

/// Deletes records that were not used since `before`, with their aliases; returns how many.
pub(crate) fn delete_unused(db: &Connection, before: i64) -> Result<usize> {
    let deleted = db.execute("DELETE FROM records WHERE used <= ?1", [before])?;
    db.execute("DELETE FROM aliases WHERE target NOT IN (SELECT key FROM records)", [])?;
    Ok(deleted)
}

fn to_json(value: &impl Serialize, key: &Digest) -> Result<String> {
    serde_json::to_string(value).map_err(|source| malformed(key.as_str(), source))
}

fn from_json<T: for<'de> Deserialize<'de>>(text: &str, key: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| malformed(key, source))
}

fn malformed(key: &str, source: serde_json::Error) -> Error {
    Error::Malformed { kind: "build record", name: key.to_owned(), source }
}
