//! One blob to its registry, and how far it has come.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_cache::{Source, Store};
use kiln_oci::{Descriptor, Reference};
use kiln_registry_client::{BlobSource, Pushed};

use crate::error::Cause;
use crate::progress::{EventKind, Reporter, Transfer};
use crate::stores::Stores;

/// Bytes between two reports of progress.
const REPORT_EVERY: u64 = 512 << 10;

/// Makes the registry have a blob of the store.
pub(super) async fn push_blob(
    stores: &Arc<Stores>,
    target: &Reference,
    blob: &Arc<Stored>,
) -> Result<Pushed, Cause> {
    let descriptor = &blob.descriptor;
    let sources = stores.store.sources.of(&descriptor.digest)?;
    let elsewhere =
        |source: &&Source| source.registry == target.registry() && source.repository != target.repository();
    let mount_from = sources.iter().find(elsewhere).map(|source| source.repository.clone());
    let pushed = stores.client.push_blob(target, descriptor, blob.clone(), mount_from.as_deref()).await?;
    let action = match pushed {
        Pushed::Existed => "already there",
        Pushed::Mounted => "mounted",
        Pushed::Uploaded => "pushing",
    };
    report_end(blob.reporter.as_ref(), descriptor.digest.as_str(), action, descriptor.size);
    Ok(pushed)
}

/// A blob of the store that reports how far its reading has come.
pub(super) struct Stored {
    store: Arc<Store>,
    descriptor: Descriptor,
    reporter: Arc<dyn Reporter>,
    missed: AtomicBool,
}

impl Stored {
    pub(super) fn new(stores: &Stores, descriptor: &Descriptor, reporter: &Arc<dyn Reporter>) -> Stored {
        Stored {
            store: stores.store.clone(),
            descriptor: descriptor.clone(),
            reporter: reporter.clone(),
            missed: AtomicBool::new(false),
        }
    }

    /// Whether somebody wanted to read it and it was not in the store.
    pub(super) fn was_missed(&self) -> bool {
        self.missed.load(Ordering::Relaxed)
    }
}

impl BlobSource for Stored {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let content = &self.store.content;
        let digest = &self.descriptor.digest;
        let is_here = content.info(digest).map_err(io::Error::other)?.is_some();
        self.missed.store(!is_here, Ordering::Relaxed);
        let file = content.reader(digest).map_err(io::Error::other)?;
        let (item, total) = (digest.to_string(), Some(self.descriptor.size));
        Ok(Box::new(Reported::new(file, item, total, self.reporter.clone())))
    }
}

/// Reports how far its reading has come.
pub(super) struct Reported<R> {
    inner: R,
    item: String,
    total: Option<u64>,
    reporter: Arc<dyn Reporter>,
    current: u64,
    reported: u64,
}

impl<R: Read> Reported<R> {
    /// Reads `inner`, which has `total` bytes as far as that is known.
    pub(super) fn new(inner: R, item: String, total: Option<u64>, reporter: Arc<dyn Reporter>) -> Self {
        Reported { inner, item, total, reporter, current: 0, reported: 0 }
    }
}

impl<R: Read> Read for Reported<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.current += count as u64;
        if self.current - self.reported >= REPORT_EVERY {
            self.reported = self.current;
            let (item, current, total) = (self.item.clone(), self.current, self.total);
            let transfer = Transfer { item, action: "pushing", current, total, done: false };
            self.reporter.report(EventKind::Transfer(transfer));
        }
        Ok(count)
    }
}

/// Says how a blob of `size` bytes came to be there.
pub(super) fn report_end(reporter: &dyn Reporter, item: &str, action: &'static str, size: u64) {
    let (item, total) = (item.to_owned(), Some(size));
    reporter.report(EventKind::Transfer(Transfer { item, action, current: size, total, done: true }));
}
