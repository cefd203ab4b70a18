//! Files that an earlier layer has already: the same path with the same bytes and metadata, in a layer on the same parent.
//!
//! Such a layer is mostly the one of the build before, and its files become those of the new one by hard links. That is safe
//! among committed snapshots, which nobody writes to; a file of a build context is never linked.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use kiln_oci::{ChainId, DiffId};
use kiln_snapshot::checksum::Sum;
use kiln_snapshot::contents::Listed;
use kiln_snapshot::xattrs::Xattrs;
use kiln_snapshot::{ChangeKind, Metadata, Node, Root, Same};
use rusqlite::{Connection, params};

use super::{LayerStore, name_of, snapshot_error};
use crate::error::Result;
use crate::lease::{Lease, Resource};

/// How many earlier layers are looked at, the latest first.
const CANDIDATES: u32 = 8;

impl LayerStore {
    /// The files of `contents`, a layer on `parent`, that an earlier layer has too, if those are at least half of them; `not` is
    /// the layer itself, where it is known. Asks for `contents` only where there are earlier layers.
    pub(super) fn same_files<'c>(
        &self,
        lease: &Lease,
        parent: Option<&ChainId>,
        not: Option<&DiffId>,
        contents: impl FnOnce() -> Cow<'c, [Listed]>,
    ) -> Result<Option<Same>> {
        let earlier = self.db.read("look up layers", |db| siblings(db, parent, not))?;
        if earlier.is_empty() {
            return Ok(None);
        }
        let contents = contents();
        let wanted: HashMap<&[u8], What<'_>> = contents.iter().filter_map(file).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        for (chain, diff_id) in earlier {
            let Some(theirs) = self.contents_of(&diff_id)? else { continue };
            let is_same = |(path, what): &(&[u8], What<'_>)| wanted.get(path) == Some(what);
            let paths = theirs.iter().filter_map(file).filter(is_same).map(|(path, _)| path.to_vec());
            let paths: HashSet<Vec<u8>> = paths.collect();
            if paths.len() * 2 < wanted.len() {
                continue;
            }
            let name = name_of(&chain);
            lease.hold(&Resource::Snapshot(name.clone()))?;
            if self.has_snapshot(&name)? {
                let named = |source| snapshot_error("look up snapshot", &name)(source);
                let dir = self.snapshots.layer_dir(&name).map_err(named)?;
                let root = Root::open(&dir).map_err(|error| named(error.into()))?;
                return Ok(Some(Same { root, paths }));
            }
        }
        Ok(None)
    }
}

/// Everything of a file but its path.
#[derive(PartialEq)]
struct What<'a> {
    content: &'a Sum,
    size: u64,
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    xattrs: &'a Xattrs,
}

/// A file with bytes of a known digest and one name, as two layers can have it in common.
fn file((change, content): &Listed) -> Option<(&[u8], What<'_>)> {
    let ChangeKind::Put(put) = &change.kind else { return None };
    let Metadata { node: Node::File, stat, xattrs } = &**put else { return None };
    let (content, owner, mtime) = (content.as_ref()?, (stat.uid, stat.gid), stat.mtime.seconds);
    Some((&change.path, What { content, size: stat.size, mode: stat.mode, owner, mtime, xattrs }))
}

/// Layers with snapshots on `parent`, the latest first.
fn siblings(
    db: &Connection,
    parent: Option<&ChainId>,
    not: Option<&DiffId>,
) -> Result<Vec<(ChainId, DiffId)>> {
    let mut statement = db.prepare_cached(
        "SELECT chain, diff_id FROM layers
         JOIN snapshots ON snapshots.name = chain AND (snapshots.kind = 2) = 1
         WHERE layers.parent IS ?1 AND diff_id IS NOT ?2 AND diff_id IN (SELECT diff_id FROM contents)
         ORDER BY snapshots.id DESC LIMIT ?3",
    )?;
    let given = params![parent.map(ChainId::as_str), not.map(DiffId::as_str), CANDIDATES];
    let rows = statement.query_map(given, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let rows: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
    Ok(rows
        .iter()
        .filter_map(|(chain, diff_id)| Some((chain.parse().ok()?, diff_id.parse().ok()?)))
        .collect())
}
