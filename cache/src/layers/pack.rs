//! Snapshots to packed layers.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use kiln_oci::compression::{GzipWriter, ZstdWriter, decompress};
use kiln_oci::{ChainId, Compression, Descriptor, DiffId, MediaType};
use kiln_snapshot::{Snapshotter, TarOptions, write_tar};

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
enum Tar {
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

    /// The layer `index` of a chain as a blob of this compression: the one that came from a registry or was packed before, or
    /// packed now. The same layer always gives the same bytes. Fails with [`Error::WrongDiffId`] if what is on disk is no
    /// longer the layer.
    pub fn blob_of(
        &self,
        lease: &Lease,
        chain: &[DiffId],
        index: usize,
        compression: Compression,
    ) -> Result<Descriptor> {
        let diff_id = chain.get(index).ok_or_else(|| Error::not_found("layer", index))?;
        self.flights.run(&format!("pack {compression:?} {diff_id}"), || {
            match self.packed_as(lease, diff_id, compression)? {
                Some(descriptor) => Ok(descriptor),
                None => self.pack(lease, &chain[..=index], diff_id, compression),
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
        compression: Compression,
    ) -> Result<Option<Descriptor>> {
        let forms = self.db.read("look up layer blobs", |db| rows::packed(db, diff_id))?;
        for form in forms.into_iter().filter(|form| form.verified && form.compression == compression) {
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
        compression: Compression,
    ) -> Result<Descriptor> {
        let tar = self.tar(chain, diff_id)?;
        let (layer, ingest) = compress(tar, self.content.ingest()?, compression)
            .map_err(stream_error("pack layer", diff_id))?;
        if layer.diff_id != *diff_id {
            let expected = diff_id.clone();
            return Err(Error::WrongDiffId {
                blob: "packed again".to_owned(),
                expected,
                found: layer.diff_id,
            });
        }
        lease.hold(&Resource::Blob(ingest.digest()))?;
        let info = ingest.commit(None)?;
        let descriptor = Descriptor::new(MediaType::layer(compression), info.digest, info.size);
        let packed = Packed { descriptor: descriptor.clone(), compression, verified: true };
        self.db.write("save layer blob", Durability::Relaxed, |db| {
            rows::insert_packed(db, diff_id, &packed)?;
            // The caller's lease holds it.
            self.content.release_written(db, [&descriptor.digest])
        })?;
        Ok(descriptor)
    }

    /// The best source of a layer's tar: a verified blob, its snapshot on nothing if it was made there, or that of the chain.
    /// Put on others, a layer that was made on nothing may have marks of what it hides, which its tar has not.
    fn tar(&self, chain: &[DiffId], diff_id: &DiffId) -> Result<Tar> {
        if let Some(blob) = self.blobs(diff_id)?.first() {
            return Ok(Tar::Blob(self.content.reader(&blob.digest)?));
        }
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

/// Writes a tar, hashed on its way, through the compressor into a blob.
fn compress(tar: Tar, ingest: Ingest, compression: Compression) -> io::Result<(LayerRef, Ingest)> {
    fn through<W: Write>(tar: Tar, out: W) -> io::Result<(LayerRef, W)> {
        let mut out = BufWriter::with_capacity(HASH_BUFFER, Hashing { hasher: Hasher::new(), out });
        copy_tar(tar, &mut out)?;
        let Hashing { hasher, out } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((hasher.finish(), out))
    }
    Ok(match compression {
        Compression::Uncompressed => through(tar, ingest)?,
        Compression::Gzip => {
            let (layer, writer) = through(tar, GzipWriter::new(ingest))?;
            (layer, writer.finish()?)
        }
        Compression::Zstd => {
            let (layer, writer) = through(tar, ZstdWriter::new(ingest)?)?;
            (layer, writer.finish()?)
        }
    })
}

fn copy_tar(tar: Tar, out: &mut impl Write) -> io::Result<()> {
    match tar {
        Tar::Blob(file) => io::copy(&mut decompress(BufReader::with_capacity(PIECE, file)), out).map(drop),
        Tar::Snapshot { snapshots, chain, options } => {
            let write = || {
                let changes = snapshots.layer_changes(&name_of(&chain))?;
                write_tar(&changes.list, &changes.root, out, &options)
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
