//! Layers that are described and whose files are wanted at once: written into a directory without a tar on disk, and packed
//! in the same pass if they are to be sent somewhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln_oci::compression::{Packer, Packing};
use kiln_oci::{ChainId, DiffId};
use kiln_snapshot::contents;
use kiln_snapshot::{ApplyOptions, Key, Recipe, TarOptions};

use super::counts::count;
use super::pipeline::{Failure, Spread, pass_written};
use super::unpack::are_additions;
use super::{LayerRef, LayerStore, describe, name_of, rows, snapshot_error, stream_error};
use crate::content::Ingest;
use crate::db::Durability;
use crate::error::Result;
use crate::lease::Lease;

impl LayerStore {
    /// Whether the snapshot of a chain is there; that of the empty chain always is.
    pub fn is_unpacked(&self, chain: &[DiffId]) -> Result<bool> {
        ChainId::of(chain).map_or(Ok(true), |chain| self.has_snapshot(&name_of(&chain)))
    }

    /// Makes a layer of a recipe on `parent` like [`LayerStore::commit_recipe`], as a snapshot and, with `packing`, as a blob
    /// too. Each file is read once.
    pub fn commit_unpacked(
        &self,
        lease: &Lease,
        recipe: &mut Recipe,
        parent: &[DiffId],
        packing: Option<Packing>,
    ) -> Result<LayerRef> {
        self.take_from_before(recipe, ChainId::of(parent).as_ref())?;
        self.snapshot_of(lease, parent)?;
        let key = self.work_key(lease, "describe")?;
        let made = self.write_into(lease, &key, recipe, parent, packing);
        if made.is_err() {
            // What cannot be removed now is removed with the lease.
            drop(self.snapshots.remove_active(&key));
        }
        self.publish_described(lease, &key, recipe, parent, made?, packing)
    }

    fn write_into(
        &self,
        lease: &Lease,
        key: &Key,
        recipe: &Recipe,
        parent: &[DiffId],
        packing: Option<Packing>,
    ) -> Result<Spread> {
        let named = |source| snapshot_error("unpack", "what is copied")(source);
        let chain = ChainId::of(parent);
        let only_adds = are_additions(recipe.contents().map(|(change, _)| change));
        let root = self.unpack_root(key, chain.as_ref(), only_adds).map_err(named)?;
        let same = match only_adds {
            false => None,
            true => self.same_files(lease, chain.as_ref(), None, || recipe.contents().collect())?,
        };
        let options =
            ApplyOptions { fresh: chain.is_none(), same: same.map(Arc::new), ..ApplyOptions::default() };
        let packer = packing.map(|packing| self.packer(recipe, parent, packing)).transpose()?;
        let write = |out: &mut dyn std::io::Write| recipe.write(out, &TarOptions::default()).map(drop);
        let spread = pass_written(write, packer, &root, &options).map_err(|failure| match failure {
            Failure::Source(source) => snapshot_error("pack", "what is copied")(source),
            Failure::Unpack(source) => named(source),
            Failure::Pack(source) => stream_error("pack", "what is copied")(source),
        })?;
        self.counters.linked.fetch_add(spread.applied.linked, Ordering::Relaxed);
        Ok(spread)
    }

    /// A packer of a layer on `parent` that takes what it can from earlier ones.
    fn packer(&self, recipe: &Recipe, parent: &[DiffId], packing: Packing) -> Result<Packer<Ingest>> {
        let packer =
            packing.writer(self.content.ingest()?).map_err(stream_error("pack", "what is copied"))?;
        Ok(match self.packed_before(ChainId::of(parent).as_ref(), None, recipe.size(), packing)? {
            Some(again) => packer.reusing(again),
            None => packer,
        })
    }

    /// Makes what was written known as a layer.
    fn publish_described(
        &self,
        lease: &Lease,
        key: &Key,
        recipe: &Recipe,
        parent: &[DiffId],
        spread: Spread,
        packing: Option<Packing>,
    ) -> Result<LayerRef> {
        let Spread { layer, packed, .. } = spread;
        let packed =
            packed.zip(packing).map(|(ingest, packing)| self.keep(lease, ingest, packing)).transpose()?;
        let parent = ChainId::of(parent);
        let chain = ChainId::extend(parent.as_ref(), &layer.diff_id);
        let name = name_of(&chain);
        let contents = contents::encode(recipe.contents());
        self.db.write("commit layer", Durability::Relaxed, |db| {
            rows::hold_snapshot(db, lease, &name)?;
            rows::insert_layer(db, &chain, parent.as_ref(), &layer, None)?;
            describe::insert_contents(db, &layer.diff_id, &contents)?;
            let Some(packed) = &packed else { return Ok(()) };
            rows::insert_packed(db, &layer.diff_id, packed)?;
            // The caller's lease holds it.
            self.content.release_written(db, [&packed.descriptor.digest])
        })?;
        self.commit_snapshot(&name, key)?;
        count(&self.counters.described);
        if packed.is_some() {
            count(&self.counters.packed);
        }
        Ok(layer)
    }
}
