//! Rows of snapshots: ids, parents and kinds, in a store that keeps them consistent.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::{Error, Info, Key, Kind, Name, Result};

/// An active snapshot or view as it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveRow {
    /// Its id.
    pub id: u64,
    /// [`Kind::Active`] or [`Kind::View`].
    pub kind: Kind,
    /// The ids of the committed snapshots beneath it, nearest first.
    pub parents: Vec<u64>,
}

/// A snapshot or view and what is right beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its id.
    pub id: u64,
    /// The id of the committed snapshot that it stands on.
    pub parent: Option<u64>,
}

/// A committed snapshot as its driver needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedRow {
    /// Where it is.
    pub place: Place,
    /// Its public data.
    pub info: Info,
}

/// Keeps snapshot rows. Each method is one transaction, also among processes. An id is never given twice. What is far beneath
/// a snapshot is looked up for mounting it only: there may be hundreds.
pub trait MetaStore: Send + Sync + fmt::Debug {
    /// Inserts a row of `kind` (active or view) under a new id. Fails with `Exists` (key) or `NotFound` (parent).
    fn create(&self, key: &Key, kind: Kind, parent: Option<&Name>) -> Result<ActiveRow>;

    /// The active or view row of a key, for mounting it.
    fn active(&self, key: &Key) -> Result<Option<ActiveRow>>;

    /// Where the active or view row of a key is.
    fn place(&self, key: &Key) -> Result<Option<Place>>;

    /// Turns the active row `key` into the committed row `name` and returns its id. Fails with `Exists` (name),
    /// `NotFound` (key) or `WrongKind` (a view), and then changes nothing.
    fn commit(&self, name: &Name, key: &Key) -> Result<u64>;

    /// Deletes an active or view row and returns its id, if there was one.
    fn remove_active(&self, key: &Key) -> Result<Option<u64>>;

    /// The committed row of a name.
    fn committed(&self, name: &Name) -> Result<Option<CommittedRow>>;

    /// Deletes a committed row and returns its id. Fails with `NotFound`, or `InUse` while a row has it as parent.
    fn remove(&self, name: &Name) -> Result<u64>;

    /// Whether some row has this id.
    fn has_id(&self, id: u64) -> Result<bool>;
}

/// A [`MetaStore`] that forgets at the end of the process.
#[derive(Debug, Default)]
pub struct MemoryMeta {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    last_id: u64,
    active: HashMap<Key, (u64, Kind, Option<Name>)>,
    committed: HashMap<Name, (u64, Info)>,
}

impl Rows {
    fn chain(&self, parent: Option<&Name>) -> Result<Vec<u64>> {
        let mut ids = Vec::new();
        let mut next = parent;
        while let Some(name) = next {
            let (id, info) = self.committed.get(name).ok_or_else(|| Error::NotFound(name.0.clone()))?;
            ids.push(*id);
            next = info.parent.as_ref();
        }
        Ok(ids)
    }

    fn child_of(&self, name: &Name) -> Option<String> {
        let active = self.active.iter().filter(|(_, row)| row.2.as_ref() == Some(name));
        let committed = self.committed.values().filter(|(_, info)| info.parent.as_ref() == Some(name));
        active.map(|(key, _)| key.0.clone()).chain(committed.map(|(_, info)| info.name.0.clone())).next()
    }
}

impl MemoryMeta {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetaStore for MemoryMeta {
    fn create(&self, key: &Key, kind: Kind, parent: Option<&Name>) -> Result<ActiveRow> {
        let mut rows = self.rows();
        if rows.active.contains_key(key) {
            return Err(Error::Exists(key.0.clone()));
        }
        let parents = rows.chain(parent)?;
        rows.last_id += 1;
        let id = rows.last_id;
        rows.active.insert(key.clone(), (id, kind, parent.cloned()));
        Ok(ActiveRow { id, kind, parents })
    }

    fn active(&self, key: &Key) -> Result<Option<ActiveRow>> {
        let rows = self.rows();
        let Some((id, kind, parent)) = rows.active.get(key) else { return Ok(None) };
        Ok(Some(ActiveRow { id: *id, kind: *kind, parents: rows.chain(parent.as_ref())? }))
    }

    fn place(&self, key: &Key) -> Result<Option<Place>> {
        let rows = self.rows();
        let place = |(id, _, parent): &(u64, Kind, Option<Name>)| {
            Ok(Place { id: *id, parent: rows.chain(parent.as_ref())?.first().copied() })
        };
        rows.active.get(key).map(place).transpose()
    }

    fn commit(&self, name: &Name, key: &Key) -> Result<u64> {
        let mut rows = self.rows();
        let Some((id, kind, parent)) = rows.active.get(key).cloned() else {
            return Err(Error::NotFound(key.0.clone()));
        };
        if kind != Kind::Active {
            return Err(Error::WrongKind { name: key.0.clone(), actual: kind.as_str(), wanted: "active" });
        }
        if rows.committed.contains_key(name) {
            return Err(Error::Exists(name.0.clone()));
        }
        rows.active.remove(key);
        let info = Info { name: name.clone(), parent, created: SystemTime::now() };
        rows.committed.insert(name.clone(), (id, info));
        Ok(id)
    }

    fn remove_active(&self, key: &Key) -> Result<Option<u64>> {
        Ok(self.rows().active.remove(key).map(|(id, _, _)| id))
    }

    fn committed(&self, name: &Name) -> Result<Option<CommittedRow>> {
        let rows = self.rows();
        let Some((id, info)) = rows.committed.get(name).cloned() else { return Ok(None) };
        let parent = rows.chain(info.parent.as_ref())?.first().copied();
        Ok(Some(CommittedRow { place: Place { id, parent }, info }))
    }

    fn remove(&self, name: &Name) -> Result<u64> {
        let mut rows = self.rows();
        if let Some(child) = rows.child_of(name) {
            return Err(Error::InUse { name: name.0.clone(), child });
        }
        rows.committed.remove(name).map(|(id, _)| id).ok_or_else(|| Error::NotFound(name.0.clone()))
    }

    fn has_id(&self, id: u64) -> Result<bool> {
        let rows = self.rows();
        Ok(rows.active.values().any(|row| row.0 == id) || rows.committed.values().any(|row| row.0 == id))
    }
}
