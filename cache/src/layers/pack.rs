//! Snapshots to packed layers.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::Ordering;

use kiln_oci::compression::{Packer, Packing};
use kiln_oci::{ChainId, Descriptor, DiffId, MediaType};

use super::counts::count;
use super::rows::{self, Packed};
use super::tar::copy_tar;
use super::{HASH_BUFFER, Hasher, LayerRef, LayerStore, stream_error};
use crate::content::{Growing, Ingest};
use crate::db::{Durability, lock};
use crate::error::{Error, Result};
use crate::lease::{Lease, Resource};

impl LayerStore {
    /// The packed forms of a layer that are in the store and were seen to unpack to it.
    pub fn blobs(&self, diff_id: &DiffId) -> Result<Vec<Descriptor>> {
        let forms = self.db.read("look up layer blobs", |db| rows::packed(db, diff_id))?;
        let mut there = Vec::new();
        for form in forms.into_iter().filter(|form| form.verified) {
            if self.content.info(&form.descriptor.digest)?.is_some() {
                there.push(form.descriptor);
            }
        }
        Ok(there)
    }

    /// A packed form of a layer that is in the store and was not packed here.
    pub fn foreign_blob(&self, diff_id: &DiffId) -> Result<Option<Descriptor>> {
        let forms = self.db.read("look up layer blobs", |db| rows::packed(db, diff_id))?;
        for form in forms.into_iter().filter(|form| form.verified && form.packing.is_none()) {
            if self.content.info(&form.descriptor.digest)?.is_some() {
                return Ok(Some(form.descriptor));
            }
        }
        Ok(None)
    }

    /// The layer `index` of a chain as a blob packed so: one that was packed here before, one of this compression that came
    /// from elsewhere, or packed now. What is packed here is the same bytes everywhere. Fails with [`Error::WrongDiffId`] if
    /// what is on disk is no longer the layer.
    pub fn blob_of(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        index: usize,
        packing: Packing,
    ) -> Result<Descriptor> {
        self.watched_blob_of(lease, chain, index, packing, |_| ())
    }

    /// The same; where it is packed now, `watch` gets the blob as it grows.
    pub fn watched_blob_of(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        index: usize,
        packing: Packing,
        watch: impl FnMut(Growing),
    ) -> Result<Descriptor> {
        let does = |form: &Packed| {
            form.packing == Some(packing)
                || form.packing.is_none() && form.compression == packing.compression()
        };
        self.blob_where(lease, chain, index, packing, does, watch)
    }

    /// The same, but what others packed does not count, so that the bytes depend on the layer alone.
    pub fn own_blob_of(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        index: usize,
        packing: Packing,
        watch: impl FnMut(Growing),
    ) -> Result<Descriptor> {
        self.blob_where(lease, chain, index, packing, |form| form.packing == Some(packing), watch)
    }

    fn blob_where(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        index: usize,
        packing: Packing,
        does: impl Fn(&Packed) -> bool,
        mut watch: impl FnMut(Growing),
    ) -> Result<Descriptor> {
        let diff_id = chain.get(index).ok_or_else(|| Error::not_found("layer", index))?;
        let key = format!("pack {packing:?} {diff_id}");
        // Whoever watches may take long, or ask for another blob: not under the lock.
        let being_packed = lock(&self.growing).get(&key).cloned();
        if let Some(growing) = being_packed {
            watch(growing);
        }
        self.flights.run(&key, || match self.packed_as(lease, diff_id, &does)? {
            Some(descriptor) => Ok(descriptor),
            None => {
                let mut ingest = self.content.ingest()?;
                let growing = ingest.growing()?;
                let _announced = self.announce(&key, &growing);
                watch(growing);
                self.pack(lease, &chain[..=index], diff_id, packing, ingest)
            }
        })
    }

    /// Lets others who ask for the blob see it grow, as long as what comes back is there.
    fn announce<'a>(&'a self, key: &'a str, growing: &Growing) -> Announced<'a> {
        lock(&self.growing).insert(key.to_owned(), growing.for_others());
        Announced { layers: self, key }
    }

    fn packed_as(
        &self,
        lease: &Lease,
        diff_id: &DiffId,
        does: impl Fn(&Packed) -> bool,
    ) -> Result<Option<Descriptor>> {
        let mut forms = self.db.read("look up layer blobs", |db| rows::packed(db, diff_id))?;
        // What was packed here first, so that the answer does not depend on what else came along.
        forms.sort_by_key(|form| form.packing.is_none());
        for form in forms.into_iter().filter(|form| form.verified && does(form)) {
            lease.hold(&Resource::Blob(form.descriptor.digest.clone()))?;
            if self.content.info(&form.descriptor.digest)?.is_some() {
                return Ok(Some(form.descriptor));
            }
        }
        Ok(None)
    }

    fn pack(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        diff_id: &DiffId,
        packing: Packing,
        ingest: Ingest,
    ) -> Result<Descriptor> {
        let tar = self.tar(chain, diff_id)?;
        let below = ChainId::of(&chain[..chain.len() - 1]);
        let own = ChainId::extend(below.as_ref(), diff_id);
        let size = self.db.read("look up layers", |db| rows::layer_size(db, own.as_str()))?.unwrap_or(0);
        let again = self.packed_before(below.as_ref(), Some(diff_id), size, packing)?;
        let packer = packing.writer(ingest).map_err(stream_error("pack layer", diff_id))?;
        let packer = match again.clone() {
            Some(again) => packer.reusing(again),
            None => packer,
        };
        let (layer, ingest) =
            write_packed(packer, |out| copy_tar(tar, out)).map_err(stream_error("pack layer", diff_id))?;
        if layer.diff_id != *diff_id {
            let expected = diff_id.clone();
            return Err(Error::WrongDiffId {
                blob: "packed again".to_owned(),
                expected,
                found: layer.diff_id,
            });
        }
        let packed = self.keep(lease, ingest, packing)?;
        count(&self.counters.packed);
        self.counters.taken.fetch_add(again.map_or(0, |again| again.found()), Ordering::Relaxed);
        self.db.write("save layer blob", Durability::Relaxed, |db| {
            rows::insert_packed(db, diff_id, &packed)?;
            // The caller's lease holds it.
            self.content.release_written(db, [&packed.descriptor.digest])
        })?;
        Ok(packed.descriptor)
    }

    /// Makes what was packed a blob of the store, held by `lease`.
    pub(super) fn keep(&self, lease: &Lease, ingest: Ingest, packing: Packing) -> Result<Packed> {
        lease.hold(&Resource::Blob(ingest.digest()))?;
        let info = ingest.commit(None)?;
        let compression = packing.compression();
        let descriptor = Descriptor::new(MediaType::layer(compression), info.digest, info.size);
        Ok(Packed { descriptor, compression, packing: Some(packing), verified: true })
    }
}

/// That a blob is being packed, for those who ask for it meanwhile.
struct Announced<'a> {
    layers: &'a LayerStore,
    key: &'a str,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        lock(&self.layers.growing).remove(self.key);
    }
}

/// Packs the tar that `write` writes into a blob, and hashes it on its way.
pub(super) fn write_packed(
    packer: Packer<Ingest>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(LayerRef, Ingest)> {
    let hashing = Hashing { hasher: Hasher::new(), out: packer };
    let mut out = BufWriter::with_capacity(HASH_BUFFER, hashing);
    write(&mut out)?;
    let Hashing { hasher, out } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok((hasher.finish(), out.finish()?))
}

/// Passes bytes on and hashes them.
struct Hashing<W> {
    hasher: Hasher,
    out: W,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.write(&bytes[..written])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
