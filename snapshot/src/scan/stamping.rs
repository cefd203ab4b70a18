//! Metadata of many files in short.

use kiln_sys::fs::{Stat, Time};
use sha2::{Digest as _, Sha256};

use crate::checksum::Sum;

/// A digest of metadata in the making, and the newest time in it.
pub(crate) struct Stamping {
    hash: Sha256,
    newest: Time,
    line: Vec<u8>,
}

impl Stamping {
    pub(crate) fn new() -> Stamping {
        Stamping { hash: Sha256::new(), newest: Time::default(), line: Vec::new() }
    }

    /// Adds what the kernel notes of something: all but when it was last read.
    pub(super) fn add(&mut self, name: &[u8], stat: &Stat, counts: bool) {
        self.name(name);
        let numbers = [stat.mode, stat.uid, stat.gid, stat.dev.0, stat.dev.1, stat.rdev.0, stat.rdev.1];
        numbers.iter().for_each(|number| self.line.extend_from_slice(&number.to_le_bytes()));
        [stat.ino, stat.size].iter().for_each(|number| self.line.extend_from_slice(&number.to_le_bytes()));
        for time in [stat.mtime, stat.ctime] {
            self.line.extend_from_slice(&time.seconds.to_le_bytes());
            self.line.extend_from_slice(&time.nanoseconds.to_le_bytes());
            self.newest = self.newest.max(time);
        }
        self.line.push(counts.into());
        self.hash.update(&self.line);
    }

    /// Adds what is in a directory.
    pub(super) fn add_sum(&mut self, path: &[u8], sum: &Sum, newest: Time) {
        self.name(path);
        self.line.extend_from_slice(sum);
        self.newest = self.newest.max(newest);
        self.hash.update(&self.line);
    }

    fn name(&mut self, name: &[u8]) {
        self.line.clear();
        self.line.extend_from_slice(&(name.len() as u64).to_le_bytes());
        self.line.extend_from_slice(name);
    }

    /// SHA-256 of all that was added, and the newest time in it.
    pub(crate) fn finish(self) -> (Sum, Time) {
        (self.hash.finalize().into(), self.newest)
    }
}
