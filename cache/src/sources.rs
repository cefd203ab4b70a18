//! Where a blob can be fetched from, or mounted from in a push.

use std::sync::Arc;

use kiln_oci::Digest;
use rusqlite::params;

use crate::db::{Db, Durability, now};
use crate::error::Result;

/// Places kept for one blob; the ones seen last stay.
const MAX_PER_BLOB: usize = 16;

/// A repository that has a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// The registry's host, as in a reference.
    pub registry: String,
    /// The repository's path.
    pub repository: String,
}

/// Remembers the repositories that have a blob.
#[derive(Debug, Clone)]
pub struct Sources {
    db: Arc<Db>,
}

impl Sources {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        Sources { db }
    }

    /// Remembers that `source` has all of `digests`.
    pub fn add(&self, source: &Source, digests: &[Digest]) -> Result<()> {
        self.db.write("save sources", Durability::Relaxed, |db| {
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO sources (digest, registry, repository, seen) VALUES (?1, ?2, ?3, ?4)",
            )?;
            let mut trim = db.prepare_cached(
                "DELETE FROM sources WHERE digest = ?1 AND seen < (SELECT seen FROM sources WHERE digest = ?1
                 ORDER BY seen DESC LIMIT 1 OFFSET ?2)",
            )?;
            for digest in digests {
                insert.execute(params![digest.as_str(), source.registry, source.repository, now()])?;
                trim.execute(params![digest.as_str(), MAX_PER_BLOB - 1])?;
            }
            Ok(())
        })
    }

    /// Who has `digest`, the one seen last first.
    pub fn of(&self, digest: &Digest) -> Result<Vec<Source>> {
        self.db.read("look up sources", |db| {
            let mut statement = db.prepare_cached(
                "SELECT registry, repository FROM sources WHERE digest = ?1 ORDER BY seen DESC",
            )?;
            let rows = statement.query_map([digest.as_str()], |row| {
                Ok(Source { registry: row.get(0)?, repository: row.get(1)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Forgets that `source` has `digest`: it said that it does not.
    pub fn remove(&self, source: &Source, digest: &Digest) -> Result<()> {
        self.db.write("forget source", Durability::Relaxed, |db| {
            db.prepare_cached("DELETE FROM sources WHERE digest = ?1 AND registry = ?2 AND repository = ?3")?
                .execute(params![digest.as_str(), source.registry, source.repository])?;
            Ok(())
        })
    }
}
