//! One pass over a layer's tar: hash it and unpack it, and pack it where it is wanted packed, all at the same time. The tar
//! comes out of a packed layer, which is hashed and stored on its way, or is just being written.
//!
//! ```text
//! this thread                          hash thread     unpack thread       its writers    pack thread
//! read → hash, write blob → inflate ─┬→ diff ID
//!   or write the tar                 ├───────────────→ tar parser ───────→ files
//!                                    └────────────────────────────────────────────────→ blob
//! ```
//! The bytes of the tar go round in a few buffers of 256 KiB; a slow reader makes the others wait.

use std::io::{self, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use kiln_oci::Compression;
use kiln_oci::compression::{Packer, decompress_verified};
use kiln_snapshot::apply::{Applied, ApplyOptions, Piece, apply_pieces};
use std::io::Write;

use super::{Hasher, LayerRef};
use crate::content::Ingest;
use crate::db::lock;

/// The size of a buffer of a tar's bytes.
const BUFFER: usize = 256 << 10;
/// Buffers that may wait for each of the readers.
const QUEUE: usize = 8;

/// What a pass over a packed layer found out.
pub(super) struct Passed {
    pub(super) layer: LayerRef,
    pub(super) compression: Compression,
    /// What was unpacked.
    pub(super) applied: Applied,
}

/// What became of a tar.
pub(super) struct Spread {
    pub(super) layer: LayerRef,
    /// What was unpacked.
    pub(super) applied: Applied,
    /// What it was packed into, all of it.
    pub(super) packed: Option<Ingest>,
}

/// Why a pass failed.
pub(super) enum Failure<E> {
    /// There was no more of the tar: the stream broke, or a file that it is made of changed.
    Source(E),
    /// The tar cannot be unpacked.
    Unpack(kiln_snapshot::Error),
    /// It cannot be packed, or a thread of ours died.
    Pack(io::Error),
}

/// Reads `packed` to its end, into `ingest` too if there is one, and unpacks it beneath `root`.
pub(super) fn pass(
    packed: impl Read,
    ingest: Option<&mut Ingest>,
    root: &kiln_snapshot::Root,
    options: &ApplyOptions,
) -> Result<Passed, Failure<io::Error>> {
    let (compression, Spread { layer, applied, .. }) =
        spread(root, options, None, |readers| inflate(packed, ingest, readers))?;
    Ok(Passed { layer, compression, applied })
}

/// Unpacks the tar that `write` writes beneath `root`, and packs it too if there is a packer.
pub(super) fn pass_written<E>(
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    packer: Option<Packer<Ingest>>,
    root: &kiln_snapshot::Root,
    options: &ApplyOptions,
) -> Result<Spread, Failure<E>> {
    let feed = |readers| {
        let mut out = Filling { readers, pool: Arc::default(), buffer: None, is_heard: true };
        match write(&mut out) {
            _ if !out.is_heard => Err(Stopped::ByReader),
            Ok(()) => out.finish(),
            Err(error) => Err(Stopped::AtSource(error)),
        }
    };
    spread(root, options, packer, feed).map(|((), spread)| spread)
}

/// Gives what `feed` sends to all who read it.
fn spread<T, E>(
    root: &kiln_snapshot::Root,
    options: &ApplyOptions,
    packer: Option<Packer<Ingest>>,
    feed: impl FnOnce(Readers) -> Result<T, Stopped<E>>,
) -> Result<(T, Spread), Failure<E>> {
    let mut readers = Readers(Vec::new());
    let (hash_queue, unpack_queue) = (readers.one_more(), readers.one_more());
    let pack = packer.map(|packer| (packer, readers.one_more()));
    thread::scope(|scope| {
        let hash = scope.spawn(|| hash_all(hash_queue));
        let unpack = scope.spawn(|| unpack_all(unpack_queue, root, options));
        let pack = pack.map(|(packer, queue)| scope.spawn(|| pack_all(queue, packer)));
        let fed = feed(readers);
        // The senders are dropped: all see the end.
        let layer = hash.join().map_err(|_| panicked("hash"))?;
        let applied = unpack.join().map_err(|_| panicked("unpack"))?;
        let packed = pack.map(|pack| pack.join().map_err(|_| panicked("pack"))).transpose()?;
        let fed = match fed {
            Err(Stopped::AtSource(error)) => return Err(Failure::Source(error)),
            Err(Stopped::ByReader) => None,
            Ok(fed) => Some(fed),
        };
        // Where packing failed, the unpacking thread saw a tar that ended too soon.
        let packed = packed.transpose().map_err(Failure::Pack)?;
        let applied = applied.map_err(Failure::Unpack)?;
        let fed = fed.ok_or_else(|| panicked("unpack"))?;
        Ok((fed, Spread { layer, applied, packed }))
    })
}

fn panicked<E>(thread: &str) -> Failure<E> {
    Failure::Pack(io::Error::other(format!("the {thread} thread panicked")))
}

enum Stopped<E> {
    AtSource(E),
    /// A reader of the queues went away: it has the reason.
    ByReader,
}

impl From<io::Error> for Stopped<io::Error> {
    fn from(error: io::Error) -> Self {
        Stopped::AtSource(error)
    }
}

/// The queues of those who read a tar.
struct Readers(Vec<SyncSender<Arc<Buffer>>>);

impl Readers {
    fn one_more(&mut self) -> Receiver<Arc<Buffer>> {
        let (sender, queue) = sync_channel(QUEUE);
        self.0.push(sender);
        queue
    }

    fn send<E>(&self, buffer: Buffer) -> Result<(), Stopped<E>> {
        let buffer = Arc::new(buffer);
        self.0.iter().try_for_each(|reader| reader.send(buffer.clone()).map_err(|_| Stopped::ByReader))
    }
}

/// Collects what is written in buffers and sends those.
struct Filling {
    readers: Readers,
    pool: Pool,
    buffer: Option<Buffer>,
    /// Whether nobody who reads went away.
    is_heard: bool,
}

impl Filling {
    fn finish<E>(mut self) -> Result<(), Stopped<E>> {
        self.buffer.take().map_or(Ok(()), |last| self.readers.send(last))
    }
}

impl Write for Filling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self.buffer.take().unwrap_or_else(|| Buffer::empty(&self.pool));
        let length = bytes.len().min(BUFFER - buffer.length);
        buffer.bytes[buffer.length..][..length].copy_from_slice(&bytes[..length]);
        buffer.length += length;
        if buffer.length < BUFFER {
            self.buffer = Some(buffer);
        } else if self.readers.send::<io::Error>(buffer).is_err() {
            self.is_heard = false;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads `packed` through the blob that is being written and sends what it inflates to.
fn inflate(
    packed: impl Read,
    ingest: Option<&mut Ingest>,
    readers: Readers,
) -> Result<Compression, Stopped<io::Error>> {
    let pool = Arc::default();
    let mut input = BufReader::with_capacity(BUFFER, Tee { inner: packed, copy: ingest });
    // The diff ID is verified before anybody sees what is unpacked.
    let mut inflated = decompress_verified(&mut input);
    let compression = inflated.compression()?;
    loop {
        let buffer = Buffer::fill(&pool, &mut inflated)?;
        if buffer.length == 0 {
            break;
        }
        readers.send(buffer)?;
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

fn pack_all(queue: Receiver<Arc<Buffer>>, mut packer: Packer<Ingest>) -> io::Result<Ingest> {
    for buffer in queue {
        packer.write_all(buffer.bytes())?;
    }
    packer.finish()
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
    fn empty(pool: &Pool) -> Buffer {
        let free = lock(pool).pop();
        let bytes = free.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        Buffer { bytes, length: 0, pool: Arc::clone(pool) }
    }

    /// A buffer with the next bytes of `from`: full, unless they are the last.
    fn fill(pool: &Pool, from: &mut impl Read) -> io::Result<Buffer> {
        let mut buffer = Buffer::empty(pool);
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
