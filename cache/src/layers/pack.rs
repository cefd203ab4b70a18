//! Snapshots to packed layers.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use kiln_oci::compression::{Packing, decompress};
use kiln_oci::{ChainId, Descriptor, DiffId, MediaType};
use kiln_snapshot::{Snapshotter, TarOptions, write_tar};

use super::counts::count;
use super::restack::alone;
use super::rows::{self, Packed};
use super::{HASH_BUFFER, Hasher, LayerRef, LayerStore, name_of, stream_error};
use crate::content::Ingest;
use crate::db::Durability;
use crate::error::{Error, Result};
use crate::lease::{Lease, Resource};

/// The pieces in which a tar that is packed while it is read goes from thread to thread.
const PIECE: usize = 256 << 10;
/// How many of them may wait.
const QUEUE: usize = 4;

/// Where a layer's tar comes from.
pub(super) enum Tar {
    Blob(std::fs::File),
    Snapshot { snapshots: Arc<dyn Snapshotter>, chain: ChainId, options: TarOptions },
}

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
        self.blob_where(lease, chain, index, packing, |form| {
            form.packing == Some(packing)
                || form.packing.is_none() && form.compression == packing.compression()
        })
    }

    /// The same, but what others packed does not count, so that the bytes depend on the layer alone.
    pub fn own_blob_of(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        index: usize,
        packing: Packing,
    ) -> Result<Descriptor> {
        self.blob_where(lease, chain, index, packing, |form| form.packing == Some(packing))
    }

    fn blob_where(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        index: usize,
        packing: Packing,
        does: impl Fn(&Packed) -> bool,
    ) -> Result<Descriptor> {
        let diff_id = chain.get(index).ok_or_else(|| Error::not_found("layer", index))?;
        self.flights.run(&format!("pack {packing:?} {diff_id}"), || {
            match self.packed_as(lease, diff_id, &does)? {
                Some(descriptor) => Ok(descriptor),
                None => self.pack(lease, &chain[..=index], diff_id, packing),
            }
        })
    }

    /// The uncompressed tar of the layer `index` of a chain. From a snapshot it is packed by another thread while it is read;
    /// it is the caller's to compare the diff ID where that matters.
    pub fn open_tar(&self, chain: &[DiffId], index: usize) -> Result<Box<dyn Read + Send>> {
        let diff_id = chain.get(index).ok_or_else(|| Error::not_found("layer", index))?;
        match self.tar(&chain[..=index], diff_id)? {
            Tar::Blob(file) => Ok(Box::new(decompress(BufReader::with_capacity(PIECE, file)))),
            tar => {
                let (sender, receiver) = sync_channel(QUEUE);
                thread::spawn(move || send_tar(tar, sender));
                Ok(Box::new(PieceReader { receiver, piece: Vec::new(), at: 0 }))
            }
        }
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
    ) -> Result<Descriptor> {
        let tar = self.tar(chain, diff_id)?;
        let (layer, ingest) = write_packed(packing, self.content.ingest()?, |out| copy_tar(tar, out))
            .map_err(stream_error("pack layer", diff_id))?;
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

    /// The best source of a layer's tar: a verified blob, else its snapshot.
    fn tar(&self, chain: &[DiffId], diff_id: &DiffId) -> Result<Tar> {
        match self.blobs(diff_id)?.first() {
            Some(blob) => Ok(Tar::Blob(self.content.reader(&blob.digest)?)),
            None => self.tar_of_snapshot(chain, diff_id),
        }
    }

    /// A layer's tar from its snapshot on nothing if it was made there, or from that of the chain. Put on others, a layer that
    /// was made on nothing may have marks of what it hides, which its tar has not.
    pub(super) fn tar_of_snapshot(&self, chain: &[DiffId], diff_id: &DiffId) -> Result<Tar> {
        let stacked = ChainId::of(chain).ok_or_else(|| Error::not_found("layer", diff_id))?;
        let chain = if self.stands_alone(diff_id)? { alone(diff_id) } else { stacked };
        if !self.has_snapshot(&name_of(&chain))? {
            return Err(Error::not_found("layer", diff_id));
        }
        let clamp_mtime = self.db.read("look up layers", |db| rows::clamp_mtime(db, &chain))?;
        let options = TarOptions { clamp_mtime, ..TarOptions::default() };
        Ok(Tar::Snapshot { snapshots: Arc::clone(&self.snapshots), chain, options })
    }
}

impl Tar {
    /// The same with no file newer than `clamp`; of a blob nothing can be changed.
    pub(super) fn clamped(mut self, clamp: i64) -> Self {
        if let Tar::Snapshot { options, .. } = &mut self {
            options.clamp_mtime = Some(options.clamp_mtime.map_or(clamp, |before| before.min(clamp)));
        }
        self
    }
}

/// Packs the tar that `write` writes into a blob, and hashes it on its way.
pub(super) fn write_packed(
    packing: Packing,
    ingest: Ingest,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(LayerRef, Ingest)> {
    let hashing = Hashing { hasher: Hasher::new(), out: packing.writer(ingest)? };
    let mut out = BufWriter::with_capacity(HASH_BUFFER, hashing);
    write(&mut out)?;
    let Hashing { hasher, out } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok((hasher.finish(), out.finish()?))
}

pub(super) fn copy_tar(tar: Tar, mut out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    match tar {
        Tar::Blob(file) => {
            io::copy(&mut decompress(BufReader::with_capacity(PIECE, file)), &mut out).map(drop)
        }
        Tar::Snapshot { snapshots, chain, options } => {
            let mut write = || {
                let changes = snapshots.layer_changes(&name_of(&chain))?;
                write_tar(&changes.list, &changes.root, &mut out, &options)
            };
            write().map(drop).map_err(io::Error::other)
        }
    }
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

type Piece = io::Result<Vec<u8>>;

/// Sends a tar in pieces, and the reason if it breaks off.
fn send_tar(tar: Tar, sender: SyncSender<Piece>) {
    let mut out = BufWriter::with_capacity(PIECE, PieceWriter(&sender));
    let result = copy_tar(tar, &mut out).and_then(|()| out.flush());
    drop(out.into_parts());
    if let Err(error) = result {
        // Whoever does not listen any more does not want the reason either.
        let _ = sender.send(Err(error));
    }
}

struct PieceWriter<'a>(&'a SyncSender<Piece>);

impl Write for PieceWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(Ok(bytes.to_vec())).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct PieceReader {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for PieceReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece?, 0);
        }
        let length = out.len().min(self.piece.len() - self.at);
        out[..length].copy_from_slice(&self.piece[self.at..][..length]);
        self.at += length;
        Ok(length)
    }
}
