//! The tar of a layer, from whatever form it has.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use kiln_oci::compression::decompress;
use kiln_oci::{ChainId, DiffId};
use kiln_snapshot::{Snapshotter, TarOptions, write_tar};

use super::restack::alone;
use super::{LayerStore, name_of, rows};
use crate::error::{Error, Result};

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

    /// The best source of a layer's tar: a verified blob, else its snapshot.
    pub(super) fn tar(&self, chain: &[DiffId], diff_id: &DiffId) -> Result<Tar> {
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

pub(super) fn copy_tar(tar: Tar, mut out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    match tar {
        Tar::Blob(file) => {
            let tar = decompress(BufReader::with_capacity(PIECE, file));
            // Its buffer is what a copy goes by, and not one of a few thousand bytes.
            io::copy(&mut BufReader::with_capacity(PIECE, tar), &mut out).map(drop)
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
