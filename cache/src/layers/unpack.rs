//! Packed layers to snapshots.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln_oci::{ChainId, Descriptor, DiffId, chain_ids};
use kiln_snapshot::contents::{self, Listed};
use kiln_snapshot::{ApplyOptions, Change, ChangeKind, Key, Name, Node, Root, detached_root};

use super::counts::count;
use super::pipeline::{Failure, Passed, pass};
use super::rows::{self, Packed};
use super::{LayerRef, LayerStore, describe, name_of, snapshot_error, stream_error};
use crate::content::Ingest;
use crate::db::Durability;
use crate::error::{Error, Result};
use crate::lease::{Lease, Resource};

/// A layer that is on its way.
#[derive(Debug, Clone, Copy)]
pub struct Arriving<'a> {
    /// The blob.
    pub descriptor: &'a Descriptor,
    /// The layers beneath it, bottom first.
    pub parent: &'a [DiffId],
    /// What it must unpack to.
    pub diff_id: &'a DiffId,
}

impl LayerStore {
    /// Stores and unpacks a layer in one pass over `bytes`: nothing of it is visible before both the blob's digest and the
    /// diff ID are the announced ones. If the layer is there already, `bytes` is not read.
    ///
    /// The layers beneath it must be there or be blobs of the store. Who downloads several layers at once unpacks the one
    /// whose parents are ready, stores the others with [`LayerStore::store_stream`] and calls
    /// [`LayerStore::snapshot_of`] at the end.
    pub fn unpack_stream(&self, lease: &Lease, layer: Arriving<'_>, bytes: impl Read) -> Result<LayerRef> {
        let parent = ChainId::of(layer.parent);
        let chain = ChainId::extend(parent.as_ref(), layer.diff_id);
        lease.hold(&Resource::Snapshot(name_of(&chain)))?;
        lease.hold(&Resource::Blob(layer.descriptor.digest.clone()))?;
        self.snapshot_of(lease, layer.parent)?;
        self.flights.run(chain.as_str(), || {
            if let Some(there) = self.unpacked(&chain, layer.diff_id)? {
                return Ok(there);
            }
            let mut ingest = self.content.ingest_described(layer.descriptor)?;
            let unpacking = Unpacking { store: self, layer, parent, chain: chain.clone(), additions: None };
            let (key, passed) = unpacking.run(lease, bytes, Some(&mut ingest))?;
            ingest.commit_as(layer.descriptor)?;
            unpacking.publish(&key, passed)
        })
    }

    /// Stores a layer's blob, verified, to be unpacked later; `diff_id` is remembered as a claim that unpacking verifies.
    pub fn store_stream(
        &self,
        lease: &Lease,
        descriptor: &Descriptor,
        diff_id: &DiffId,
        bytes: impl Read,
    ) -> Result<()> {
        lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
        if self.content.info(&descriptor.digest)?.is_none() {
            self.content.copy_in(descriptor, bytes)?;
        }
        self.add_blob(diff_id, descriptor)?;
        self.db.write("release blob", Durability::Relaxed, |db| {
            self.content.release_written(db, [&descriptor.digest])
        })
    }

    /// Remembers that somebody says that `descriptor` is a packed form of `diff_id`. Believed only as far as unpacking it,
    /// which verifies it.
    pub fn add_blob(&self, diff_id: &DiffId, descriptor: &Descriptor) -> Result<()> {
        let kiln_oci::media_type::Kind::Layer(compression) = descriptor.media_type.kind() else {
            return Err(Error::not_found("layer format", &descriptor.media_type));
        };
        let packed = Packed { descriptor: descriptor.clone(), compression, packing: None, verified: false };
        self.db.write("save layer blob", Durability::Relaxed, |db| rows::insert_packed(db, diff_id, &packed))
    }

    /// The snapshot of a chain, unpacked from blobs as far as it is missing; `None` for the empty chain.
    pub fn snapshot_of(&self, lease: &Lease, chain: &[DiffId]) -> Result<Option<Name>> {
        let chains = chain_ids(chain);
        let Some(top) = chains.last() else { return Ok(None) };
        self.check_depth(chain)?;
        lease.hold(&Resource::Snapshot(name_of(top)))?;
        let mut there = chains.len();
        while there > 0 && !self.has_snapshot(&name_of(&chains[there - 1]))? {
            there -= 1;
        }
        for index in there..chains.len() {
            self.unpack_blob(lease, chain, &chains, index)?;
        }
        Ok(Some(name_of(top)))
    }

    /// Fails for a chain of more layers than can be mounted, before anything is done for it.
    pub fn check_depth(&self, chain: &[DiffId]) -> Result<()> {
        let (count, limit) = (chain.len(), self.snapshots.most_layers());
        match count > limit {
            true => Err(snapshot_error("stack layers", "the image")(kiln_snapshot::Error::TooManyLayers {
                count,
                limit,
            })),
            false => Ok(()),
        }
    }

    fn unpack_blob(
        &self,
        lease: &Lease,
        diff_ids: &[DiffId],
        chains: &[ChainId],
        index: usize,
    ) -> Result<()> {
        let chain = &chains[index];
        lease.hold(&Resource::Snapshot(name_of(chain)))?;
        self.flights.run(chain.as_str(), || {
            if self.has_snapshot(&name_of(chain))? {
                return Ok(());
            }
            let Some((descriptor, blob)) = self.open_packed(lease, &diff_ids[index])? else {
                return self.restack(lease, diff_ids, chains, index);
            };
            let (parent, diff_id) = (&diff_ids[..index], &diff_ids[index]);
            let layer = Arriving { descriptor: &descriptor, parent, diff_id };
            let parent = index.checked_sub(1).map(|below| chains[below].clone());
            let additions = self.contents_of(diff_id)?.filter(|contents| only_adds(contents));
            let unpacking = Unpacking { store: self, layer, parent, chain: chain.clone(), additions };
            let (key, passed) = unpacking.run(lease, blob, None)?;
            unpacking.publish(&key, passed).map(drop)
        })
    }

    /// An active snapshot on `parent` and where a layer is unpacked in it: what only adds goes right into the directory of its
    /// own, which is the same whatever is beneath; all else needs the mount.
    pub(super) fn unpack_root(
        &self,
        key: &Key,
        parent: Option<&ChainId>,
        only_adds: bool,
    ) -> kiln_snapshot::Result<Root> {
        let mounts = self.snapshots.prepare(key, parent.map(name_of).as_ref())?;
        match only_adds {
            false => detached_root(&mounts),
            true => Ok(Root::open(&self.snapshots.changes_dir(key)?)?),
        }
    }

    /// A blob of the store that is or claims to be a packed form of `diff_id`, held by `lease`, if there is one.
    pub(super) fn open_packed(&self, lease: &Lease, diff_id: &DiffId) -> Result<Option<(Descriptor, File)>> {
        let forms = self.db.read("look up layer blobs", |db| rows::packed(db, diff_id))?;
        for form in forms {
            lease.hold(&Resource::Blob(form.descriptor.digest.clone()))?;
            if self.content.info(&form.descriptor.digest)?.is_some() {
                let file = self.content.reader(&form.descriptor.digest)?;
                return Ok(Some((form.descriptor, file)));
            }
        }
        Ok(None)
    }

    fn unpacked(&self, chain: &ChainId, diff_id: &DiffId) -> Result<Option<LayerRef>> {
        if !self.has_snapshot(&name_of(chain))? {
            return Ok(None);
        }
        let size = self.db.read("look up layers", |db| rows::layer_size(db, chain.as_str()))?;
        Ok(size.map(|size| LayerRef { diff_id: diff_id.clone(), size }))
    }
}

/// The unpacking of one layer.
pub(super) struct Unpacking<'a> {
    pub(super) store: &'a LayerStore,
    pub(super) layer: Arriving<'a>,
    pub(super) parent: Option<ChainId>,
    pub(super) chain: ChainId,
    /// What the layer has, if it only adds and lists every directory above what it adds. Then its own directory is the same
    /// whatever is beneath, and is written without a mount.
    pub(super) additions: Option<Vec<Listed>>,
}

/// Whether a layer was described, only adds, and lists every directory above what it adds. Of a layer that was unpacked, the
/// paths of the list need not be those of the tar, which may lead through links; but only descriptions have digests.
fn only_adds(contents: &[Listed]) -> bool {
    contents.iter().any(|(_, digest)| digest.is_some())
        && are_additions(contents.iter().map(|(change, _)| change))
}

/// Whether changes only add, and list every directory above what they add.
pub(super) fn are_additions(changes: impl IntoIterator<Item = impl Borrow<Change>>) -> bool {
    let mut listed = HashSet::from([Vec::new()]);
    changes.into_iter().all(|change| {
        let change = change.borrow();
        let parent = change.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let ChangeKind::Put(put) = &change.kind else { return false };
        if let Node::Directory { opaque } = put.node {
            listed.insert(change.path.clone());
            return !opaque && listed.contains(&change.path[..parent]);
        }
        listed.contains(&change.path[..parent])
    })
}

impl Unpacking<'_> {
    /// Unpacks into an active snapshot and verifies the diff ID. If it fails, the lease removes what it made.
    pub(super) fn run(
        &self,
        lease: &Lease,
        bytes: impl Read,
        ingest: Option<&mut Ingest>,
    ) -> Result<(Key, Passed)> {
        let key = self.store.work_key(lease, "unpack")?;
        let result = self.unpack_into(lease, &key, bytes, ingest);
        match &result {
            Ok(_) => count(&self.store.counters.unpacked),
            // What cannot be removed now is removed with the lease.
            Err(_) => drop(self.store.snapshots.remove_active(&key)),
        }
        result.map(|passed| (key, passed))
    }

    fn unpack_into(
        &self,
        lease: &Lease,
        key: &Key,
        bytes: impl Read,
        ingest: Option<&mut Ingest>,
    ) -> Result<Passed> {
        let blob = &self.layer.descriptor.digest;
        let named = |source| snapshot_error("unpack layer", blob)(source);
        let (parent, store) = (self.parent.as_ref(), self.store);
        let root = store.unpack_root(key, parent, self.additions.is_some()).map_err(named)?;
        let same = match &self.additions {
            None => None,
            Some(contents) => {
                store.same_files(lease, parent, Some(self.layer.diff_id), || contents.into())?
            }
        };
        let same = same.map(Arc::new);
        let (fresh, list) = (parent.is_none(), self.additions.is_none());
        let options = ApplyOptions { fresh, same, list, ..ApplyOptions::default() };
        let passed = pass(bytes, ingest, &root, &options).map_err(|failure| match failure {
            Failure::Source(source) | Failure::Pack(source) => stream_error("read layer", blob)(source),
            Failure::Unpack(source) => named(source),
        })?;
        if passed.layer.diff_id != *self.layer.diff_id {
            return Err(Error::WrongDiffId {
                blob: blob.to_string(),
                expected: self.layer.diff_id.clone(),
                found: passed.layer.diff_id,
            });
        }
        self.store.counters.linked.fetch_add(passed.applied.linked, Ordering::Relaxed);
        Ok(passed)
    }

    /// Makes the verified layer known.
    fn publish(&self, key: &Key, passed: Passed) -> Result<LayerRef> {
        let Passed { layer, compression, applied } = passed;
        let contents =
            applied.contents.map(|list| contents::encode(list.iter().map(|change| (change, None))));
        let packed =
            Packed { descriptor: self.layer.descriptor.clone(), compression, packing: None, verified: true };
        self.store.db.write("commit layer", Durability::Relaxed, |db| {
            rows::insert_packed(db, &layer.diff_id, &packed)?;
            // The caller's lease holds it.
            self.store.content.release_written(db, [&packed.descriptor.digest])?;
            rows::insert_layer(db, &self.chain, self.parent.as_ref(), &layer, None)?;
            contents.iter().try_for_each(|packed| describe::insert_contents(db, &layer.diff_id, packed))
        })?;
        self.store.commit_snapshot(&name_of(&self.chain), key)?;
        Ok(layer)
    }
}
