//! Layers of a tar that somebody else writes: there at first as blobs, unpacked when their files are wanted.

use std::io::{self, Write};

use kiln_oci::compression::Packing;
use kiln_oci::{ChainId, Descriptor, DiffId};

use super::pack::write_packed;
use super::tar::copy_tar;
use super::{LayerRef, LayerStore, rows, stream_error};
use crate::db::Durability;
use crate::error::{Error, Result};
use crate::lease::Lease;

impl LayerStore {
    /// Packs the tar that `write` writes into a blob and makes it the layer over `parent`. The blob is held by `lease`.
    pub fn make(
        &self,
        lease: &Lease,
        parent: &[DiffId],
        packing: Packing,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(LayerRef, Descriptor)> {
        let over = ChainId::of(parent);
        let object = over.as_ref().map_or("nothing", |chain| chain.as_str());
        let packed = packing.writer(self.content.ingest()?).and_then(|packer| write_packed(packer, write));
        let (layer, ingest) = packed.map_err(stream_error("pack a layer over", object))?;
        let packed = self.keep(lease, ingest, packing)?;
        let chain = ChainId::extend(over.as_ref(), &layer.diff_id);
        self.db.write("save layer", Durability::Relaxed, |db| {
            rows::insert_layer(db, &chain, over.as_ref(), &layer, None)?;
            rows::insert_packed(db, &layer.diff_id, &packed)?;
            self.content.release_written(db, [&packed.descriptor.digest])
        })?;
        Ok((layer, packed.descriptor))
    }

    /// The top layer of `chain` again with no file newer than `clamp`, in seconds, over `parent`, which stands for the layers
    /// below it. Fails where its files are not unpacked.
    pub fn clamped(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        parent: &[DiffId],
        clamp: i64,
        packing: Packing,
    ) -> Result<(LayerRef, Descriptor)> {
        let diff_id = chain.last().ok_or_else(|| Error::not_found("layer", "nothing"))?;
        self.snapshot_of(lease, chain)?;
        let tar = self.tar_of_snapshot(chain, diff_id)?.clamped(clamp);
        self.make(lease, parent, packing, |out| copy_tar(tar, out))
    }
}
