//! One pass over a packed layer: hash, store, inflate, hash again and unpack at the same time.
//!
//! ```text
//! this thread                          hash thread     unpack thread       its writers
//! read → hash, write blob → inflate ─┬→ diff ID
//!                                    └───────────────→ tar parser ───────→ files
//! ```
//! The inflated bytes go round in a few buffers of 256 KiB; a slow reader makes the others wait.

use std::io::{self, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use kiln_oci::Compression;
use kiln_oci::compression::decompress;
use kiln_snapshot::apply::{Applied, ApplyOptions, Piece, apply_pieces};
use std::io::Write;

use super::{Hasher, LayerRef};
use crate::content::Ingest;
use crate::db::lock;

/// The size of a buffer of inflated bytes.
const BUFFER: usize = 256 << 10;
/// Buffers that may wait for each of the two readers.
const QUEUE: usize = 8;

/// What a pass found out.
pub(super) struct Passed {
    pub(super) layer: LayerRef,
    pub(super) compression: Compression,
    /// What was unpacked.
    pub(super) applied: Applied,
}

/// Why a pass failed.
pub(super) enum Failure {
    /// The stream broke, or it is not a packed layer.
    Stream(io::Error),
    /// The tar cannot be unpacked.
    Unpack(kiln_snapshot::Error),
}

/// Reads `packed` to its end, into `ingest` too if there is one, and unpacks it beneath `root`.
pub(super) fn pass(
    packed: impl Read,
    ingest: Option<&mut Ingest>,
    root: &kiln_snapshot::Root,
    options: &ApplyOptions,
) -> Result<Passed, Failure> {
    let (to_hash, hash_queue) = sync_channel(QUEUE);
    let (to_unpack, unpack_queue) = sync_channel(QUEUE);
    thread::scope(|scope| {
        let hash = scope.spawn(|| hash_all(hash_queue));
        let unpack = scope.spawn(|| unpack_all(unpack_queue, root, options));
        let inflated = inflate(packed, ingest, [to_hash, to_unpack]);
        // The senders are dropped: both see the end.
        let layer = hash.join().map_err(|_| panicked("hash"))?;
        let unpacked = unpack.join().map_err(|_| panicked("unpack"))?;
        match (inflated, unpacked) {
            (Err(Stopped::Stream(error)), _) => Err(Failure::Stream(error)),
            (_, Err(error)) => Err(Failure::Unpack(error)),
            (Err(Stopped::ByReader), Ok(_)) => Err(panicked("unpack")),
            (Ok(compression), Ok(applied)) => Ok(Passed { layer, compression, applied }),
        }
    })
}

fn panicked(thread: &str) -> Failure {
    Failure::Stream(io::Error::other(format!("the {thread} thread panicked")))
}

enum Stopped {
    Stream(io::Error),
    /// A reader of the queues went away: it has the reason.
    ByReader,
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Stopped::Stream(error)
    }
}

/// Reads `packed` through the blob that is being written and sends what it inflates to.
fn inflate(
    packed: impl Read,
    ingest: Option<&mut Ingest>,
    readers: [SyncSender<Arc<Buffer>>; 2],
) -> Result<Compression, Stopped> {
    let pool = Arc::default();
    let mut input = BufReader::with_capacity(BUFFER, Tee { inner: packed, copy: ingest });
    let mut inflated = decompress(&mut input);
    let compression = inflated.compression()?;
    loop {
        let buffer = Arc::new(Buffer::fill(&pool, &mut inflated)?);
        if buffer.length == 0 {
            break;
        }
        for reader in &readers {
            reader.send(Arc::clone(&buffer)).map_err(|_| Stopped::ByReader)?;
        }
    }
    drop(inflated);
    // The blob's digest covers every byte, also what a compressed stream has after its end.
    io::copy(&mut input, &mut io::sink())?;
    Ok(compression)
}

fn hash_all(queue: Receiver<Arc<Buffer>>) -> LayerRef {
    let mut hasher = Hasher::new();
    for buffer in queue {
        let _ = hasher.write(buffer.bytes());
    }
    hasher.finish()
}

fn unpack_all(
    queue: Receiver<Arc<Buffer>>,
    root: &kiln_snapshot::Root,
    options: &ApplyOptions,
) -> kiln_snapshot::Result<Applied> {
    // The sender goes away at the end and after an error; then the pass fails, whatever we make of it.
    let applied = apply_pieces(|| Ok(queue.recv().ok().map(|buffer| buffer as Piece)), root, options)?;
    // A tar may have anything after its end; the diff ID covers it.
    while queue.recv().is_ok() {}
    Ok(applied)
}

/// Copies what is read.
struct Tee<'a, R> {
    inner: R,
    copy: Option<&'a mut Ingest>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if let Some(copy) = &mut self.copy {
            copy.write_all(&buffer[..length])?;
        }
        Ok(length)
    }
}

/// Buffers that are free.
type Pool = Arc<Mutex<Vec<Box<[u8]>>>>;

/// A buffer that goes back to its pool.
struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
    pool: Pool,
}

impl Buffer {
    /// A buffer with the next bytes of `from`: full, unless they are the last.
    fn fill(pool: &Pool, from: &mut impl Read) -> io::Result<Buffer> {
        let free = lock(pool).pop();
        let bytes = free.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        let mut buffer = Buffer { bytes, length: 0, pool: Arc::clone(pool) };
        while buffer.length < BUFFER {
            match from.read(&mut buffer.bytes[buffer.length..]) {
                Ok(0) => break,
                Ok(length) => buffer.length += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(buffer)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        lock(&self.pool).push(std::mem::take(&mut self.bytes));
    }
}
