//! Layers that were made on nothing, put on others: such a layer deletes nothing, so it is the same wherever it stands.

use kiln_oci::compression::Packing;
use kiln_oci::{ChainId, Compression, Descriptor, DiffId, MediaType, chain_ids};

use super::unpack::{Arriving, Unpacking};
use super::{LayerRef, LayerStore, name_of, rows};
use crate::db::Durability;
use crate::error::{Error, Result};
use crate::lease::{Lease, Resource};

/// The chain of a layer that stands on nothing.
pub(crate) fn alone(diff_id: &DiffId) -> ChainId {
    ChainId::extend(None, diff_id)
}

impl LayerStore {
    /// Makes known that `layers` stand on `below` too. Their files are put there when somebody asks for the snapshot: they
    /// must be blobs of the store, or have been made on nothing.
    pub fn stack(&self, below: &[DiffId], layers: &[LayerRef]) -> Result<()> {
        let tops = layers.iter().map(|layer| layer.diff_id.clone());
        let chains = chain_ids(&below.iter().cloned().chain(tops).collect::<Vec<_>>());
        self.db.write("stack layers", Durability::Relaxed, |db| {
            for (layer, index) in layers.iter().zip(below.len()..) {
                let parent = index.checked_sub(1).map(|below| &chains[below]);
                let clamp_mtime = rows::clamp_mtime(db, &alone(&layer.diff_id))?;
                rows::insert_layer(db, &chains[index], parent, layer, clamp_mtime)?;
            }
            Ok(())
        })
    }

    /// Makes the layer `index` of a chain have a form that does not depend on those below it, and keeps that.
    pub fn make_free(&self, lease: &Lease, chain: &[DiffId], index: usize) -> Result<()> {
        let diff_id = chain.get(index).ok_or_else(|| Error::not_found("layer", index))?;
        if self.open_packed(lease, diff_id)?.is_some() {
            return Ok(());
        }
        lease.hold(&Resource::Snapshot(name_of(&alone(diff_id))))?;
        match self.stands_alone(diff_id)? {
            true => Ok(()),
            false => self.blob_of(lease, chain, index, Packing::of(Compression::Uncompressed)).map(drop),
        }
    }

    /// Whether the layer has a snapshot on nothing, of which others can be made.
    pub fn stands_alone(&self, diff_id: &DiffId) -> Result<bool> {
        self.has_snapshot(&name_of(&alone(diff_id)))
    }

    /// Makes the snapshot of `chains[index]` of the layer's snapshot on nothing, which is packed and unpacked again; the diff
    /// ID is verified on the way. Its parents' must be there.
    pub(super) fn restack(
        &self,
        lease: &Lease,
        diff_ids: &[DiffId],
        chains: &[ChainId],
        index: usize,
    ) -> Result<()> {
        let (diff_id, chain) = (&diff_ids[index], &chains[index]);
        let alone = alone(diff_id);
        lease.hold(&Resource::Snapshot(name_of(&alone)))?;
        if *chain == alone || !self.stands_alone(diff_id)? {
            return Err(Error::not_found("layer", diff_id));
        }
        let descriptor = Descriptor::new(MediaType::new(MediaType::OCI_LAYER), diff_id.0.clone(), 0);
        let layer = Arriving { descriptor: &descriptor, parent: &diff_ids[..index], diff_id };
        let parent = index.checked_sub(1).map(|below| chains[below].clone());
        let (below, name) = (parent.clone(), chain.clone());
        let unpacking = Unpacking { store: self, layer, parent: below, chain: name, additions: None };
        let tar = self.open_tar(std::slice::from_ref(diff_id), 0)?;
        let (key, passed) = unpacking.run(lease, tar, None)?;
        self.db.write("commit layer", Durability::Relaxed, |db| {
            let clamp_mtime = rows::clamp_mtime(db, &alone)?;
            rows::insert_layer(db, chain, parent.as_ref(), &passed.layer, clamp_mtime)
        })?;
        self.commit_snapshot(&name_of(chain), &key)
    }
}
