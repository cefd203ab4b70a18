//! Layers and their forms: the only place that knows that a layer may be a blob, a snapshot, or both.
//!
//! A layer is its diff ID; with its parents it is a chain, whose chain ID names its snapshot. A form that is missing is made
//! when somebody asks for it, once: callers of one process wait for each other, and of two processes that do the same
//! work, the second to finish drops its own.
//!
//! | method | from | to |
//! |---|---|---|
//! | [`LayerStore::unpack_stream`] | a download | blob and snapshot, in one pass |
//! | [`LayerStore::snapshot_of`] | blobs | snapshots |
//! | [`LayerStore::commit`] | what a step wrote | snapshot and diff ID |
//! | [`LayerStore::commit_recipe`] | files where they are | plain tar and diff ID |
//! | [`LayerStore::commit_unpacked`] | files where they are | snapshot, diff ID and, if wanted, compressed blob |
//! | [`LayerStore::stack`] | a layer made on nothing | the same layer on others |
//! | [`LayerStore::blob_of`] | snapshot or another blob | compressed blob |
//! | [`LayerStore::open_tar`] | any form | the uncompressed tar |
//! | [`LayerStore::make`] | a tar that is being written | compressed blob |
//!
//! Every method that makes or finds a form holds it in the caller's [`Lease`] before it looks, so that garbage collection
//! cannot take it in between.

mod again;
mod counts;
mod describe;
mod direct;
mod flights;
mod made;
mod pack;
mod pipeline;
mod restack;
mod rows;
mod same;
mod tar;
pub(crate) mod unpack;

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex};

use kiln_oci::{ChainId, DiffId, Digester, chain_ids};
use kiln_snapshot::{Key, Name, Snapshotter, TarOptions, contents, write_tar};
use serde::{Deserialize, Serialize};

use crate::content::{Growing, LocalContent};
use crate::db::{Db, Durability, unique};
use crate::error::{Error, Result};
use crate::lease::{Lease, Resource};
pub use counts::Counts;
use counts::{Counters, count};
pub use describe::Known;
use flights::Flights;
pub(crate) use rows::{are_available, blobs_of_layer, chain_below};

/// Bytes collected before they are hashed: a tar is written in pieces of 512 bytes.
const HASH_BUFFER: usize = 128 << 10;

/// A layer as a manifest of the local store describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LayerRef {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// The bytes of its tar.
    pub size: u64,
}

/// The layers of a store.
#[derive(Debug)]
pub struct LayerStore {
    db: Arc<Db>,
    content: LocalContent,
    snapshots: Arc<dyn Snapshotter>,
    flights: Flights,
    /// The blobs that are being packed, by the keys of their flights.
    growing: Mutex<HashMap<String, Growing>>,
    counters: Counters,
}

impl LayerStore {
    pub(crate) fn new(db: Arc<Db>, content: LocalContent, snapshots: Arc<dyn Snapshotter>) -> Self {
        let (flights, growing, counters) = (Flights::default(), Mutex::default(), Counters::default());
        LayerStore { db, content, snapshots, flights, growing, counters }
    }

    /// The layers of a chain with their sizes, if all have been seen.
    pub fn get(&self, chain: &[DiffId]) -> Result<Option<Vec<LayerRef>>> {
        self.db.read("look up layers", |db| {
            let mut layers = Vec::with_capacity(chain.len());
            for (diff_id, chain) in chain.iter().zip(chain_ids(chain)) {
                let Some(size) = rows::layer_size(db, chain.as_str())? else { return Ok(None) };
                layers.push(LayerRef { diff_id: diff_id.clone(), size });
            }
            Ok(Some(layers))
        })
    }

    /// Whether the snapshot of a chain is there or can be made of blobs that are.
    pub fn is_available(&self, layers: &[LayerRef]) -> Result<bool> {
        self.db.read("look up layers", |db| are_available(db, layers))
    }

    /// Turns what was written to the active snapshot `key`, which stands on `parent`, into a layer.
    ///
    /// Reads the changes once, to hash them; nothing is copied or compressed. If the same layer is there already, ours is
    /// dropped.
    pub fn commit(&self, lease: &Lease, key: &Key, parent: &[DiffId]) -> Result<LayerRef> {
        self.commit_on(lease, key, ChainId::of(parent).as_ref(), &TarOptions::default())
    }

    /// [`LayerStore::commit`] on a chain whose identity is known, with a layer packed as `options` say, which are remembered for
    /// packing it again.
    pub fn commit_on(
        &self,
        lease: &Lease,
        key: &Key,
        parent: Option<&ChainId>,
        options: &TarOptions,
    ) -> Result<LayerRef> {
        let (layer, contents) = self.hash_changes(key, options).map_err(snapshot_error("pack", key))?;
        let chain = ChainId::extend(parent, &layer.diff_id);
        let name = name_of(&chain);
        self.db.write("commit layer", Durability::Relaxed, |db| {
            rows::hold_snapshot(db, lease, &name)?;
            rows::insert_layer(db, &chain, parent, &layer, options.clamp_mtime)?;
            describe::insert_contents(db, &layer.diff_id, &contents)
        })?;
        self.commit_snapshot(&name, key)?;
        count(&self.counters.committed);
        Ok(layer)
    }

    /// Forgets a layer whose snapshot was removed, unless it has been made again since.
    pub(crate) fn forget(&self, name: &Name) -> Result<()> {
        self.db.write("forget layer", Durability::Relaxed, |db| {
            db.prepare_cached(
                "DELETE FROM layers WHERE chain = ?1 AND chain NOT IN (SELECT name FROM snapshots WHERE kind = 2)",
            )?
            .execute([&name.0])?;
            Ok(())
        })
    }

    /// How often forms were made since the store was opened.
    pub fn counts(&self) -> Counts {
        self.counters.now()
    }

    /// The layer of what was written, and its packed table of contents.
    fn hash_changes(&self, key: &Key, options: &TarOptions) -> kiln_snapshot::Result<(LayerRef, Vec<u8>)> {
        let changes = self.snapshots.changes(key)?;
        let mut out = BufWriter::with_capacity(HASH_BUFFER, Hasher::new());
        write_tar(&changes.list, &changes.root, &mut out, options)?;
        let contents = contents::encode(changes.list.iter().map(|change| (change, None)));
        match out.into_inner() {
            Ok(hasher) => Ok((hasher.finish(), contents)),
            Err(_) => Ok((Hasher::new().finish(), contents)),
        }
    }

    /// Commits `key` as `name`; that somebody else was first is success.
    fn commit_snapshot(&self, name: &Name, key: &Key) -> Result<()> {
        match self.snapshots.commit(name, key) {
            Err(error) if error.is_exists() => self.snapshots.remove_active(key),
            result => result,
        }
        .map_err(snapshot_error("commit snapshot", name))
    }

    fn has_snapshot(&self, name: &Name) -> Result<bool> {
        Ok(self.snapshots.stat(name).map_err(snapshot_error("look up snapshot", name))?.is_some())
    }

    /// A key for work of this crate, held so that the work's remains are removed if it does not end well.
    fn work_key(&self, lease: &Lease, what: &str) -> Result<Key> {
        let key = Key(format!("{what}-{}-{}", lease.id(), unique()));
        lease.hold(&Resource::Active(key.clone()))?;
        Ok(key)
    }
}

/// The name of a chain's snapshot.
pub fn name_of(chain: &ChainId) -> Name {
    Name(chain.to_string())
}

fn snapshot_error(
    operation: &'static str,
    object: impl ToString,
) -> impl FnOnce(kiln_snapshot::Error) -> Error {
    let object = object.to_string();
    move |source| Error::Snapshot { operation, object, source }
}

fn stream_error(operation: &'static str, object: impl ToString) -> impl FnOnce(io::Error) -> Error {
    let object = object.to_string();
    move |source| Error::Stream { operation, object, source }
}

/// Makes a [`LayerRef`] of the bytes written to it.
struct Hasher {
    digester: Digester,
    size: u64,
}

impl Hasher {
    fn new() -> Self {
        Hasher { digester: Digester::sha256(), size: 0 }
    }

    fn finish(self) -> LayerRef {
        LayerRef { diff_id: DiffId(self.digester.finish()), size: self.size }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digester.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
