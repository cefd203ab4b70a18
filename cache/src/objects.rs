//! Documents of containers, networks and volumes: JSON by kind and id, with unique names, changed in transactions.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::{Db, Durability, now};
use crate::error::{Error, Result};

/// How many matches an [`Error::Ambiguous`] names.
const NAMED_MATCHES: usize = 4;

/// The documents of one kind.
#[derive(Debug, Clone)]
pub struct Objects {
    db: Arc<Db>,
    kind: &'static str,
}

/// A document with its id and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<T> {
    /// Unique in its kind.
    pub id: String,
    /// Unique in its kind, if it has one.
    pub name: Option<String>,
    /// The document.
    pub document: T,
}

impl Objects {
    pub(crate) fn new(db: Arc<Db>, kind: &'static str) -> Self {
        Objects { db, kind }
    }

    /// Adds a document. Fails with [`Error::InUse`] if its id or name is taken.
    pub fn insert<T: Serialize>(&self, id: &str, name: Option<&str>, document: &T) -> Result<()> {
        let text = self.to_json(id, document)?;
        self.db.write("save", Durability::Relaxed, |db| {
            self.refuse_taken(db, id, name)?;
            let sql = "INSERT INTO objects (kind, id, name, document, created) VALUES (?1, ?2, ?3, ?4, ?5)";
            match db.prepare_cached(sql)?.execute(params![self.kind, id, name, text, now()]) {
                Err(error) if is_constraint(&error) => {
                    Err(Error::InUse { kind: self.kind, name: id.to_owned() })
                }
                result => Ok(result.map(drop)?),
            }
        })
    }

    /// Adds a document or replaces the one that has this id, name included.
    pub fn put<T: Serialize>(&self, id: &str, name: Option<&str>, document: &T) -> Result<()> {
        let text = self.to_json(id, document)?;
        self.db.write("save", Durability::Relaxed, |db| {
            self.refuse_taken(db, id, name)?;
            let sql = "INSERT INTO objects (kind, id, name, document, created) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, document = excluded.document";
            db.prepare_cached(sql)?.execute(params![self.kind, id, name, text, now()])?;
            Ok(())
        })
    }

    /// The document with this id.
    pub fn get<T: DeserializeOwned>(&self, id: &str) -> Result<Option<Object<T>>> {
        self.db.read("look up", |db| self.one(db, "id = ?2", id))
    }

    /// The document with this name.
    pub fn by_name<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Object<T>>> {
        self.db.read("look up", |db| self.one(db, "name = ?2", name))
    }

    /// The document with this name, this id, or the only one whose id begins so: in that order, as Docker looks.
    /// Fails with [`Error::NotFound`] or [`Error::Ambiguous`].
    pub fn find<T: DeserializeOwned>(&self, text: &str) -> Result<Object<T>> {
        self.db.read("look up", |db| {
            let exact = match self.one(db, "name = ?2", text)? {
                None => self.one(db, "id = ?2", text)?,
                found => found,
            };
            exact.map_or_else(|| self.by_prefix(db, text), Ok)
        })
    }

    /// All documents, the oldest first.
    pub fn list<T: DeserializeOwned>(&self) -> Result<Vec<Object<T>>> {
        self.db.read("list", |db| {
            let sql = "SELECT id, name, document FROM objects WHERE kind = ?1 ORDER BY created, id";
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([self.kind], columns)?.collect::<Result<Vec<_>, _>>()?;
            rows.into_iter().map(|row| self.parse(row)).collect()
        })
    }

    /// How many there are.
    pub fn count(&self) -> Result<usize> {
        self.db.read("count", |db| {
            let mut statement = db.prepare_cached("SELECT count(*) FROM objects WHERE kind = ?1")?;
            Ok(statement.query_row([self.kind], |row| row.get(0))?)
        })
    }

    /// Changes a document in one transaction, in which nobody else changes it. When `change` fails, nothing is changed.
    pub fn update<T, R, E>(&self, id: &str, change: impl FnOnce(&mut T) -> Result<R, E>) -> Result<R, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        let mut refused = None;
        let result = self.db.write("update", Durability::Relaxed, |db| {
            let found = self.one::<T>(db, "id = ?2", id)?;
            let mut object = found.ok_or_else(|| Error::not_found(self.kind, id))?;
            let value = match change(&mut object.document) {
                Ok(value) => value,
                Err(error) => {
                    refused = Some(error);
                    return Ok(None);
                }
            };
            let text = self.to_json(id, &object.document)?;
            db.prepare_cached("UPDATE objects SET document = ?3 WHERE kind = ?1 AND id = ?2")?
                .execute([self.kind, id, &text])?;
            Ok(Some(value))
        });
        match (result?, refused) {
            (Some(value), _) => Ok(value),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::not_found(self.kind, id).into()),
        }
    }

    /// Gives a document another name. Fails with [`Error::InUse`] if it is taken.
    pub fn rename(&self, id: &str, name: Option<&str>) -> Result<()> {
        self.db.write("rename", Durability::Relaxed, |db| {
            self.refuse_taken(db, id, name)?;
            let changed = db
                .prepare_cached("UPDATE objects SET name = ?3 WHERE kind = ?1 AND id = ?2")?
                .execute(params![self.kind, id, name])?;
            if changed == 0 { Err(Error::not_found(self.kind, id)) } else { Ok(()) }
        })
    }

    /// Deletes a document; whether it was there. What it holds is let go by [`crate::Leases::unpin`].
    pub fn delete(&self, id: &str) -> Result<bool> {
        self.db.write("delete", Durability::Relaxed, |db| {
            let deleted = db
                .prepare_cached("DELETE FROM objects WHERE kind = ?1 AND id = ?2")?
                .execute([self.kind, id])?;
            Ok(deleted > 0)
        })
    }

    fn one<T: DeserializeOwned>(
        &self,
        db: &Connection,
        condition: &str,
        value: &str,
    ) -> Result<Option<Object<T>>> {
        let sql = format!("SELECT id, name, document FROM objects WHERE kind = ?1 AND {condition}");
        let row = db.prepare_cached(&sql)?.query_row([self.kind, value], columns).optional()?;
        row.map(|row| self.parse(row)).transpose()
    }

    fn by_prefix<T: DeserializeOwned>(&self, db: &Connection, prefix: &str) -> Result<Object<T>> {
        let sql = "SELECT id, name, document FROM objects WHERE kind = ?1 AND substr(id, 1, length(?2)) = ?2 LIMIT ?3";
        let mut statement = db.prepare_cached(sql)?;
        let rows = statement.query_map(params![self.kind, prefix, NAMED_MATCHES], columns)?;
        let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
        match rows.len() {
            1 if !prefix.is_empty() => self.parse(rows.remove(0)),
            0 | 1 => Err(Error::not_found(self.kind, prefix)),
            _ => Err(Error::Ambiguous {
                prefix: prefix.to_owned(),
                matches: rows.into_iter().map(|row| row.0).collect(),
            }),
        }
    }

    fn refuse_taken(&self, db: &Connection, id: &str, name: Option<&str>) -> Result<()> {
        let Some(name) = name else { return Ok(()) };
        let mut statement =
            db.prepare_cached("SELECT 1 FROM objects WHERE kind = ?1 AND name = ?2 AND id <> ?3")?;
        match statement.exists([self.kind, name, id])? {
            true => Err(Error::InUse { kind: self.kind, name: name.to_owned() }),
            false => Ok(()),
        }
    }

    fn to_json(&self, id: &str, document: &impl Serialize) -> Result<String> {
        serde_json::to_string(document).map_err(|source| self.malformed(id, source))
    }

    fn parse<T: DeserializeOwned>(&self, (id, name, text): Columns) -> Result<Object<T>> {
        let document = serde_json::from_str(&text).map_err(|source| self.malformed(&id, source))?;
        Ok(Object { id, name, document })
    }

    fn malformed(&self, id: &str, source: serde_json::Error) -> Error {
        Error::Malformed { kind: self.kind, name: id.to_owned(), source }
    }
}

type Columns = (String, Option<String>, String);

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}
