//! Threads that create files from batches, so that reading a tar and making inodes overlap.

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
use crate::{Error, Result};

/// Content bytes of one batch, and the largest piece of a file in it.
pub(crate) const BATCH_BYTES: usize = 256 << 10;
/// Files of one batch.
const BATCH_JOBS: usize = 32;
/// Batches that wait.
const QUEUE: usize = 16;

/// A regular file to be made.
#[derive(Debug)]
pub(crate) struct NewFile {
    /// The directory it goes in.
    pub(crate) dir: Arc<OwnedFd>,
    /// Its path beneath the root, for messages and its name.
    pub(crate) path: Vec<u8>,
    pub(crate) attributes: Attributes,
}

impl NewFile {
    fn name(&self) -> &Path {
        name_of(&self.path)
    }

    /// Creates it empty. What has its name goes away: a later entry of a layer wins.
    fn create(&self) -> Result<File> {
        let mode = self.attributes.creation_mode();
        match fs::create_file(self.dir.as_fd(), self.name(), mode) {
            Err(error) if error.is_exists() => {
                fs::remove_tree(self.dir.as_fd(), self.name())?;
                Ok(fs::create_file(self.dir.as_fd(), self.name(), mode)?)
            }
            other => Ok(other?),
        }
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        Error::io(operation, show(&self.path))
    }

    fn write_whole(&self, data: &[u8]) -> Result<()> {
        let mut file = self.create()?;
        file.write_all(data).map_err(self.failed("write"))?;
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
    fn write_piece(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.file.write_all_at(data, offset).map_err(self.new.failed("write"))?;
        let count = data.len() as u64;
        if self.left.fetch_sub(count, Ordering::AcqRel) == count {
            self.new.attributes.finish(self.file.as_fd())?;
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Job {
    Whole(NewFile, Range<usize>),
    Piece(Arc<BigFile>, u64, Range<usize>),
}

#[derive(Debug, Default)]
struct Batch {
    data: Vec<u8>,
    jobs: Vec<Job>,
}

#[derive(Debug)]
struct Shared {
    /// Batches that were sent and are not done.
    pending: Mutex<usize>,
    idle: Condvar,
    failed: AtomicBool,
    error: Mutex<Option<Error>>,
    /// Buffers to use again.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Shared {
    fn run(&self, batch: &mut Batch) -> Result<()> {
        for job in batch.jobs.drain(..) {
            match job {
                Job::Whole(file, range) => file.write_whole(&batch.data[range])?,
                Job::Piece(file, offset, range) => file.write_piece(offset, &batch.data[range])?,
            }
        }
        Ok(())
    }

    fn work(&self, batches: &Receiver<Batch>) {
        for mut batch in batches {
            let _done = Done(self);
            if !self.failed.load(Ordering::Relaxed)
                && let Err(error) = self.run(&mut batch)
            {
                self.fail(error);
            }
            batch.jobs.clear();
            batch.data.clear();
            lock(&self.spare).push(take(&mut batch.data));
        }
    }

    fn fail(&self, error: Error) {
        lock(&self.error).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }
}

/// Says that a batch is done, whatever happened to it.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::io("write", "a batch of files")(std::io::Error::other("the writer panicked")));
        }
        *lock(&self.0.pending) -= 1;
        self.0.idle.notify_all();
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
    queue: Option<Sender<Batch>>,
    shared: Arc<Shared>,
    batch: Batch,
}

impl Writers {
    pub(crate) fn new(count: usize) -> Self {
        let shared = Shared {
            pending: Mutex::new(0),
            idle: Condvar::new(),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
            spare: Mutex::default(),
        };
        Self { count, threads: Vec::new(), queue: None, shared: Arc::new(shared), batch: Batch::default() }
    }

    /// Makes a file of `size` bytes; `read` appends that many of them, in order, to a buffer.
    pub(crate) fn file(
        &mut self,
        file: NewFile,
        size: u64,
        mut read: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if size <= (BATCH_BYTES / 4) as u64 {
            let range = self.fill(size as usize, &mut read)?;
            return self.push(Job::Whole(file, range));
        }
        let big = Arc::new(BigFile { file: file.create()?, left: AtomicU64::new(size), new: file });
        let mut offset = 0;
        while offset < size {
            let room = BATCH_BYTES.saturating_sub(self.batch.data.len()).max(BATCH_BYTES / 4);
            let count = (size - offset).min(room as u64);
            let range = self.fill(count as usize, &mut read)?;
            self.push(Job::Piece(big.clone(), offset, range))?;
            offset += count;
        }
        Ok(())
    }

    fn fill(
        &mut self,
        count: usize,
        read: &mut impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Range<usize>> {
        let start = self.batch.data.len();
        if count > 0 {
            read(count, &mut self.batch.data)?;
        }
        Ok(start..self.batch.data.len())
    }

    fn push(&mut self, job: Job) -> Result<()> {
        self.batch.jobs.push(job);
        if self.batch.data.len() >= BATCH_BYTES || self.batch.jobs.len() >= BATCH_JOBS {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if self.count == 0 {
            return self.run_here();
        }
        self.check()?;
        let spare = lock(&self.shared.spare).pop();
        let fresh = spare.unwrap_or_else(|| Vec::with_capacity(2 * BATCH_BYTES));
        let batch = std::mem::replace(&mut self.batch, Batch { data: fresh, jobs: Vec::new() });
        *lock(&self.shared.pending) += 1;
        // The threads hold the other end until the queue is dropped.
        let _ = self.queue().send(batch);
        Ok(())
    }

    fn queue(&mut self) -> &Sender<Batch> {
        self.queue.get_or_insert_with(|| {
            let (queue, batches) = bounded(QUEUE);
            for _ in 0..self.count {
                let (shared, batches) = (self.shared.clone(), batches.clone());
                self.threads.push(std::thread::spawn(move || shared.work(&batches)));
            }
            queue
        })
    }

    fn run_here(&mut self) -> Result<()> {
        let mut batch = take(&mut self.batch);
        let result = self.shared.run(&mut batch);
        batch.jobs.clear();
        batch.data.clear();
        self.batch = batch;
        result
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
        while *pending > 0 {
            pending = self.shared.idle.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        drop(pending);
        self.check()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A panic was reported by `Done`.
            let _ = thread.join();
        }
    }
}
