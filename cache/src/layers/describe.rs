//! Layers that are described: packed without a directory, and known by their tables of contents.
//!
//! A recipe is packed at once, into the plain tar that its diff ID names, or [where its files are wanted](super::direct)
//! right into a directory. So what it took may change afterwards (a build context is the user's to edit), and every other
//! form is made of that one as of a layer that was pulled.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use kiln_oci::compression::Packing;
use kiln_oci::{ChainId, Compression, Descriptor, DiffId, chain_ids};
use kiln_snapshot::contents::{self, Listed};
use kiln_snapshot::{Recipe, TarOptions};
use rusqlite::blob::ZeroBlob;
use rusqlite::{Connection, MAIN_DB, OptionalExtension, params};

use super::counts::count;
use super::restack::alone;
use super::rows;
use super::{LayerRef, LayerStore, name_of, snapshot_error};
use crate::db::{Durability, time};
use crate::error::Result;
use crate::lease::Lease;

/// Fewer files are opened sooner than it is looked up where else their bytes are.
const MANY: usize = 128;

/// What is known of a chain without unpacking any of it.
#[derive(Debug)]
pub struct Known {
    /// How many of its lowest layers are a snapshot.
    pub unpacked: usize,
    /// The tables of contents of the layers above those, lowest first.
    pub above: Vec<Vec<Listed>>,
}

impl LayerStore {
    /// Makes a layer of a recipe on `parent`: each file is read once, from where it is or from the tar of the layer before into
    /// the layer's tar, and hashed on its way. No directory is made; that happens when somebody asks for the snapshot.
    pub fn commit_recipe(
        &self,
        lease: &Lease,
        recipe: &mut Recipe,
        parent: Option<&ChainId>,
    ) -> Result<LayerRef> {
        self.take_from_before(recipe, parent)?;
        let mut ingest = self.content.ingest()?;
        let named = snapshot_error("pack", "what is copied");
        recipe.write(&mut ingest, &TarOptions::default()).map_err(named)?;
        let packed = self.keep(lease, ingest, Packing::of(Compression::Uncompressed))?;
        let Descriptor { digest, size, .. } = packed.descriptor.clone();
        let layer = LayerRef { diff_id: DiffId(digest), size };
        let chain = ChainId::extend(parent, &layer.diff_id);
        let contents = contents::encode(recipe.contents());
        self.db.write("commit layer", Durability::Relaxed, |db| {
            rows::insert_packed(db, &layer.diff_id, &packed)?;
            // The caller's lease holds it.
            self.content.release_written(db, [&packed.descriptor.digest])?;
            rows::insert_layer(db, &chain, parent, &layer, None)?;
            insert_contents(db, &layer.diff_id, &contents)
        })?;
        count(&self.counters.described);
        Ok(layer)
    }

    /// Lets a recipe of many files take what the tar of the layer before has.
    pub(super) fn take_from_before(&self, recipe: &mut Recipe, parent: Option<&ChainId>) -> Result<()> {
        if recipe.len() >= MANY
            && let Some((tar, contents)) = self.described_before(parent)?
        {
            let taken = recipe.take_from(tar, &contents);
            self.counters.repeated.fetch_add(taken as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The plain tar and the contents of the layer that was described on `parent` last: mostly that of the build before.
    fn described_before(&self, parent: Option<&ChainId>) -> Result<Option<(File, Vec<Listed>)>> {
        let found = self.db.read("look up layers", |db| {
            let mut statement = db.prepare_cached(
                "SELECT diff_id FROM layers JOIN contents USING (diff_id) JOIN blobs ON digest = diff_id
                 WHERE layers.parent IS ?1 ORDER BY blobs.created DESC LIMIT 1",
            )?;
            Ok(statement
                .query_row([parent.map(ChainId::as_str)], |row| row.get::<_, String>(0))
                .optional()?)
        })?;
        let Some(diff_id) = found.and_then(|text| text.parse::<DiffId>().ok()) else { return Ok(None) };
        // What cannot be read is no help, and no reason to fail.
        let Ok(tar) = self.content.reader(&diff_id.0) else { return Ok(None) };
        Ok(self.contents_of(&diff_id)?.map(|contents| (tar, contents)))
    }

    /// What a layer has at each path, if it was ever listed here.
    pub fn contents_of(&self, diff_id: &DiffId) -> Result<Option<Vec<Listed>>> {
        self.db.read("look up contents", |db| contents_of(db, diff_id))
    }

    /// What is known of a chain; `None` if some layer of it must be unpacked before its shape is known.
    pub fn known(&self, chain: &[DiffId]) -> Result<Option<Known>> {
        let chains = chain_ids(chain);
        let mut known = Known { unpacked: chain.len(), above: Vec::new() };
        while known.unpacked > 0 && !self.has_snapshot(&name_of(&chains[known.unpacked - 1]))? {
            let Some(contents) = self.contents_of(&chain[known.unpacked - 1])? else { return Ok(None) };
            known.above.push(contents);
            known.unpacked -= 1;
        }
        known.above.reverse();
        Ok(Some(known))
    }

    /// When a layer was made, in whichever form came first; `None` if it was made elsewhere.
    pub fn made(&self, chain: &ChainId, diff_id: &DiffId) -> Result<Option<SystemTime>> {
        self.db.read("look up layers", |db| {
            let mut statement = db.prepare_cached(
                "SELECT min(created) FROM (
                     SELECT created FROM snapshots WHERE name IN (?1, ?2) AND (kind = 2) = 1
                     UNION ALL SELECT created FROM blobs WHERE digest = ?3)",
            )?;
            let alone = alone(diff_id);
            let names = params![chain.as_str(), alone.as_str(), diff_id.as_str()];
            Ok(statement.query_row(names, |row| row.get::<_, Option<i64>>(0))?.map(time))
        })
    }
}

/// Remembers a layer's table of contents; one that was made from its sources says most and stays.
pub(super) fn insert_contents(db: &Connection, diff_id: &DiffId, contents: &[u8]) -> Result<()> {
    let inserted = db
        .prepare_cached("INSERT OR IGNORE INTO contents (diff_id, entries) VALUES (?1, ?2)")?
        .execute(params![diff_id.as_str(), ZeroBlob(contents.len() as u64)])?;
    if inserted == 0 {
        return Ok(());
    }
    let mut blob = db.blob_open(MAIN_DB, c"contents", c"entries", db.last_insert_rowid(), false)?;
    // As a parameter it would be in memory three times.
    blob.write_all_at(contents, 0)?;
    Ok(())
}

pub(super) fn contents_of(db: &Connection, diff_id: &DiffId) -> Result<Option<Vec<Listed>>> {
    let mut statement = db.prepare_cached("SELECT entries FROM contents WHERE diff_id = ?1")?;
    let packed = statement.query_row([diff_id.as_str()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    Ok(packed.and_then(|packed| contents::decode(&packed)))
}
