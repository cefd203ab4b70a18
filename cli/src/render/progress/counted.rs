//! A reader or writer whose bytes are seen as they pass.

use std::io::{self, Read, Write};
use std::time::Instant;

use kiln_engine::progress::{EventKind, Reporter as _, Transfer};

use super::{REDRAW, Transfers};

/// Reports what passes through it.
pub(crate) struct Counted<'a, T> {
    inner: T,
    transfers: &'a Transfers,
    transfer: Transfer,
    reported: Instant,
}

impl<'a, T> Counted<'a, T> {
    /// Nothing of `item` has passed yet, of `total` bytes where that is known.
    pub(crate) fn new(
        inner: T,
        transfers: &'a Transfers,
        (action, item): (&'static str, String),
        total: Option<u64>,
    ) -> Self {
        let transfer = Transfer { item, action, current: 0, total, done: false };
        Counted { inner, transfers, transfer, reported: Instant::now() }
    }

    fn pass(&mut self, count: usize, done: bool) {
        self.transfer.current += count as u64;
        self.transfer.done = done;
        if done || self.reported.elapsed() >= REDRAW {
            self.reported = Instant::now();
            self.transfers.report(EventKind::Transfer(self.transfer.clone()));
        }
    }
}

impl<T: Read> Read for Counted<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.pass(count, count == 0 && !buffer.is_empty());
        Ok(count)
    }
}

impl<T: Write> Write for Counted<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.pass(count, false);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T> Drop for Counted<'_, T> {
    fn drop(&mut self) {
        if !self.transfer.done {
            self.pass(0, true);
        }
    }
}
