//! What of a layer was compressed before: of the layer of the build before, mostly, in which few files are others.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_oci::compression::{Member, Members, Packing, members};
use kiln_oci::{ChainId, Compression, DiffId, Digest};
use rusqlite::{Connection, params};

use super::{LayerStore, rows};
use crate::error::Result;

/// How many earlier blobs are looked at, the latest first.
const CANDIDATES: u32 = 4;
/// A smaller tar is compressed sooner than anything is looked up.
const LEAST: u64 = 1 << 20;

/// Members of earlier blobs.
#[derive(Debug)]
pub(super) struct Again {
    blobs: Vec<File>,
    /// Where they are, by checksum and length of their content.
    members: HashMap<(u32, u32), (usize, Member)>,
    found: AtomicU64,
}

impl LayerStore {
    /// What can be taken for a layer on `parent` whose tar has about `size` bytes: members of other layers on it that were packed
    /// so. `not` is the layer itself, where it is known.
    pub(super) fn packed_before(
        &self,
        parent: Option<&ChainId>,
        not: Option<&DiffId>,
        size: u64,
        packing: Packing,
    ) -> Result<Option<Arc<Again>>> {
        if size < LEAST || packing.compression() != Compression::Gzip {
            return Ok(None);
        }
        let blobs = self.db.read("look up layer blobs", |db| siblings(db, parent, not, packing))?;
        let mut again = Again { blobs: Vec::new(), members: HashMap::new(), found: AtomicU64::new(0) };
        for digest in blobs {
            // What cannot be read is no help, and no reason to fail.
            let Ok(mut file) = self.content.reader(&digest) else { continue };
            let Ok(members) = members(&mut file, packing.level()) else { continue };
            let number = again.blobs.len();
            for member in members {
                again.members.entry((member.checksum, member.length)).or_insert((number, member));
            }
            again.blobs.push(file);
        }
        Ok((!again.members.is_empty()).then(|| Arc::new(again)))
    }
}

impl Again {
    /// How many members were found.
    pub(super) fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }
}

impl Members for Again {
    fn find(&self, checksum: u32, length: u32) -> Option<Vec<u8>> {
        let (blob, member) = self.members.get(&(checksum, length))?;
        let mut bytes = vec![0; member.size as usize];
        self.blobs[*blob].read_exact_at(&mut bytes, member.at).ok()?;
        self.found.fetch_add(1, Ordering::Relaxed);
        Some(bytes)
    }
}

/// The blobs, packed so, of layers on `parent`, the latest first.
fn siblings(
    db: &Connection,
    parent: Option<&ChainId>,
    not: Option<&DiffId>,
    packing: Packing,
) -> Result<Vec<Digest>> {
    let mut statement = db.prepare_cached(
        "SELECT digest FROM layers JOIN layer_blobs USING (diff_id) JOIN blobs USING (digest)
         WHERE layers.parent IS ?1 AND diff_id IS NOT ?2 AND compression = ?3 AND verified
         ORDER BY blobs.created DESC LIMIT ?4",
    )?;
    let compression = rows::number(packing.compression(), Some(packing));
    let given = params![parent.map(ChainId::as_str), not.map(DiffId::as_str), compression, CANDIDATES];
    let rows = statement.query_map(given, |row| row.get::<_, String>(0))?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|text| text.parse().ok()).collect())
}
