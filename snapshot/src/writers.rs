//! Threads that create files from batches, so that reading a tar and making inodes overlap.
//!
//! Each thread has a queue of its own. All pieces of a large file go to one thread: the kernel lets only one write to a file
//! at a time, and two threads that take turns at it spend their time waiting for each other.

use std::fs::File;
use std::io::Write;
use std::mem::take;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use kiln_sys::fs;

use crate::attributes::Attributes;
use crate::error::show;
use crate::path::name_of;
use crate::read_tar::{Map, Segment, Slice};
use crate::{Error, Result};

/// Content bytes of one batch, and the largest piece of a file in it.
pub(crate) const BATCH_BYTES: usize = 256 << 10;
/// Files of one batch.
const BATCH_JOBS: usize = 32;
/// Batches that wait for each thread.
const QUEUE: usize = 8;

/// A regular file to be made.
#[derive(Debug)]
pub(crate) struct NewFile {
    /// The directory it goes in.
    pub(crate) dir: Arc<OwnedFd>,
    /// Its path beneath the root, for messages and its name.
    pub(crate) path: Vec<u8>,
    pub(crate) attributes: Attributes,
    /// Whether what has its name goes away, as a later entry of a layer wins; else nothing can have its name.
    pub(crate) replaces: bool,
    /// A directory that has the very same file under the same name.
    pub(crate) same: Option<Arc<OwnedFd>>,
}

impl NewFile {
    fn name(&self) -> &Path {
        name_of(&self.path)
    }

    /// Creates it empty.
    fn create(&self) -> Result<File> {
        let mode = self.attributes.creation_mode();
        match fs::create_file(self.dir.as_fd(), self.name(), mode) {
            Err(error) if error.is_exists() && !self.replaces => {
                Err(Error::SameName { path: show(&self.path) })
            }
            Err(error) if error.is_exists() => {
                fs::remove_tree(self.dir.as_fd(), self.name())?;
                Ok(fs::create_file(self.dir.as_fd(), self.name(), mode)?)
            }
            other => Ok(other?),
        }
    }

    /// Makes it another name of the same file elsewhere; false where that cannot be, as on another file system or when that
    /// file has too many names already.
    fn link(&self) -> bool {
        let Some(same) = &self.same else { return false };
        fs::linkat(same.as_fd(), self.name(), self.dir.as_fd(), self.name()).is_ok()
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        Error::io(operation, show(&self.path))
    }

    fn write_whole(&self, data: &[Slice]) -> Result<()> {
        let mut file = self.create()?;
        data.iter().try_for_each(|slice| file.write_all(slice.bytes())).map_err(self.failed("write"))?;
        self.attributes.finish(file.as_fd())
    }
}

/// A file whose content comes in several batches; whoever writes the last piece finishes it.
#[derive(Debug)]
pub(crate) struct BigFile {
    new: NewFile,
    file: File,
    left: AtomicU64,
}

impl BigFile {
    fn write_piece(&self, offset: u64, data: &[Slice]) -> Result<()> {
        let mut count = 0;
        for slice in data {
            self.file.write_all_at(slice.bytes(), offset + count).map_err(self.new.failed("write"))?;
            count += slice.bytes().len() as u64;
        }
        if self.left.fetch_sub(count, Ordering::AcqRel) == count {
            self.new.attributes.finish(self.file.as_fd())?;
        }
        Ok(())
    }
}

/// What is to be written; the ranges are of the batch's slices.
#[derive(Debug)]
enum Job {
    Whole(NewFile, Range<usize>),
    Piece(Arc<BigFile>, u64, Range<usize>),
}

#[derive(Debug, Default)]
struct Batch {
    data: Vec<Slice>,
    /// How much that is.
    bytes: usize,
    jobs: Vec<Job>,
    /// The thread that has to do it, if it has a piece of a large file.
    thread: Option<usize>,
}

#[derive(Debug)]
struct Shared {
    /// Batches that were sent to each thread and are not done.
    pending: Mutex<Vec<usize>>,
    idle: Condvar,
    /// Files that became other names of files elsewhere.
    linked: AtomicU64,
    failed: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Shared {
    fn run(&self, batch: &mut Batch) -> Result<()> {
        for job in batch.jobs.drain(..) {
            match job {
                Job::Whole(file, _) if file.link() => drop(self.linked.fetch_add(1, Ordering::Relaxed)),
                Job::Whole(file, range) => file.write_whole(&batch.data[range])?,
                Job::Piece(file, offset, range) => file.write_piece(offset, &batch.data[range])?,
            }
        }
        Ok(())
    }

    fn work(&self, thread: usize, batches: &Receiver<Batch>) {
        for mut batch in batches {
            let _done = Done(self, thread);
            if !self.failed.load(Ordering::Relaxed)
                && let Err(error) = self.run(&mut batch)
            {
                self.fail(error);
            }
        }
    }

    fn fail(&self, error: Error) {
        lock(&self.error).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }
}

/// Says that a batch is done, whatever happened to it.
struct Done<'a>(&'a Shared, usize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::io("write", "a batch of files")(std::io::Error::other("the writer panicked")));
        }
        let mut pending = lock(&self.0.pending);
        pending[self.1] -= 1;
        if pending.iter().all(|count| *count == 0) {
            self.0.idle.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads and the batch that is being filled. Threads start when the first batch is full: a small layer is
/// written by the calling thread alone.
#[derive(Debug)]
pub(crate) struct Writers {
    count: usize,
    threads: Vec<JoinHandle<()>>,
    queues: Vec<Sender<Batch>>,
    shared: Arc<Shared>,
    batch: Batch,
}

impl Writers {
    pub(crate) fn new(count: usize) -> Self {
        let shared = Shared {
            pending: Mutex::new(vec![0; count]),
            idle: Condvar::new(),
            linked: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        };
        Self {
            count,
            threads: Vec::new(),
            queues: Vec::new(),
            shared: Arc::new(shared),
            batch: Batch::default(),
        }
    }

    /// Makes a file of `size` bytes; `read` appends that many of them, in order.
    pub(crate) fn file(
        &mut self,
        file: NewFile,
        size: u64,
        mut read: impl FnMut(usize, &mut Vec<Slice>) -> Result<()>,
    ) -> Result<()> {
        if size <= (BATCH_BYTES / 4) as u64 {
            let range = self.fill(size as usize, &mut read)?;
            return self.push(Job::Whole(file, range));
        }
        if file.link() {
            self.shared.linked.fetch_add(1, Ordering::Relaxed);
            return skip(size, read);
        }
        let big = Arc::new(BigFile { file: file.create()?, left: AtomicU64::new(size), new: file });
        self.pieces(&big, &[Segment { offset: 0, length: size }], read)
    }

    /// Makes a file with holes. `read` appends the content, in order.
    pub(crate) fn sparse_file(
        &mut self,
        new: NewFile,
        map: &Map,
        read: impl FnMut(usize, &mut Vec<Slice>) -> Result<()>,
    ) -> Result<()> {
        let file = new.create()?;
        file.set_len(map.size).map_err(new.failed("make the holes of"))?;
        let stored = map.segments.iter().map(|segment| segment.length).sum();
        let big = Arc::new(BigFile { file, left: AtomicU64::new(stored), new });
        if stored == 0 {
            return big.new.attributes.finish(big.file.as_fd());
        }
        self.pieces(&big, &map.segments, read)
    }

    fn pieces(
        &mut self,
        big: &Arc<BigFile>,
        segments: &[Segment],
        mut read: impl FnMut(usize, &mut Vec<Slice>) -> Result<()>,
    ) -> Result<()> {
        if !self.batch.jobs.is_empty() {
            self.send()?;
        }
        let thread = self.least_busy();
        for segment in segments {
            let (mut offset, end) = (segment.offset, segment.offset + segment.length);
            while offset < end {
                self.batch.thread = Some(thread);
                let room = BATCH_BYTES.saturating_sub(self.batch.bytes).max(BATCH_BYTES / 4);
                let count = (end - offset).min(room as u64);
                let range = self.fill(count as usize, &mut read)?;
                self.push(Job::Piece(big.clone(), offset, range))?;
                offset += count;
            }
        }
        Ok(())
    }

    /// How many files became other names of files elsewhere, of those that are done.
    pub(crate) fn linked(&self) -> u64 {
        self.shared.linked.load(Ordering::Relaxed)
    }

    fn fill(
        &mut self,
        count: usize,
        read: &mut impl FnMut(usize, &mut Vec<Slice>) -> Result<()>,
    ) -> Result<Range<usize>> {
        let start = self.batch.data.len();
        if count > 0 {
            read(count, &mut self.batch.data)?;
            self.batch.bytes += count;
        }
        Ok(start..self.batch.data.len())
    }

    fn push(&mut self, job: Job) -> Result<()> {
        self.batch.jobs.push(job);
        if self.batch.bytes >= BATCH_BYTES || self.batch.jobs.len() >= BATCH_JOBS {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if self.count == 0 {
            return self.run_here();
        }
        self.check()?;
        let batch = take(&mut self.batch);
        let thread = batch.thread.unwrap_or_else(|| self.least_busy());
        lock(&self.shared.pending)[thread] += 1;
        // The threads hold the other end until the queues are dropped.
        let _ = self.queues[thread].send(batch);
        Ok(())
    }

    /// The thread with the fewest batches to do. Starts the threads if there are none yet.
    fn least_busy(&mut self) -> usize {
        while self.queues.len() < self.count {
            let (queue, batches) = bounded(QUEUE);
            let shared = self.shared.clone();
            let thread = self.threads.len();
            self.threads.push(std::thread::spawn(move || shared.work(thread, &batches)));
            self.queues.push(queue);
        }
        let pending = lock(&self.shared.pending);
        (0..pending.len()).min_by_key(|&thread| pending[thread]).unwrap_or(0)
    }

    fn run_here(&mut self) -> Result<()> {
        let mut batch = take(&mut self.batch);
        self.shared.run(&mut batch)
    }

    fn check(&self) -> Result<()> {
        if self.shared.failed.load(Ordering::Acquire)
            && let Some(error) = lock(&self.shared.error).take()
        {
            return Err(error);
        }
        Ok(())
    }

    /// Returns when everything asked for so far is on the file system.
    pub(crate) fn barrier(&mut self) -> Result<()> {
        self.run_here()?;
        let mut pending = lock(&self.shared.pending);
        while pending.iter().any(|count| *count > 0) {
            pending = self.shared.idle.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        drop(pending);
        self.check()
    }
}

/// Passes over the bytes of a file.
fn skip(size: u64, mut read: impl FnMut(usize, &mut Vec<Slice>) -> Result<()>) -> Result<()> {
    let mut left = size;
    while left > 0 {
        let count = left.min(BATCH_BYTES as u64);
        read(count as usize, &mut Vec::new())?;
        left -= count;
    }
    Ok(())
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A panic was reported by `Done`.
            let _ = thread.join();
        }
    }
}
