//! A blob that is being written, as those see it who read it meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::db::lock;

/// A blob that is being written. Its bytes are in a file, so nobody waits for those who read.
#[derive(Debug, Clone)]
pub struct Growing {
    file: Arc<File>,
    shared: Arc<Shared>,
    /// Whether it is given up by who has this.
    is_own: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    size: u64,
    end: Option<End>,
}

/// How the writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// It was given up: the blob never was.
    Abandoned,
}

impl Growing {
    /// A blob that is written to `file`, which has `size` bytes of it.
    pub(super) fn new(file: File, size: u64) -> Growing {
        let shared = Shared { state: Mutex::new(State { size, end: None }), changed: Condvar::new() };
        Growing { file: Arc::new(file), shared: Arc::new(shared), is_own: true }
    }

    /// Reads it from its start, waiting for what is not there yet. That it is given up is an error.
    pub fn reader(&self) -> GrowingReader {
        GrowingReader { blob: self.clone(), at: 0 }
    }

    /// Waits until `size` bytes are there; false where it ends before that.
    pub fn reaches(&self, size: u64) -> bool {
        self.wait(size).size >= size
    }

    /// Makes the writing fail, if it is not over: who asked for it does not want the blob any more. Others who see it grow
    /// cannot say so.
    pub fn give_up(&self) {
        if self.is_own {
            self.end(false);
        }
    }

    /// The same for others than who asked for it.
    pub(crate) fn for_others(&self) -> Growing {
        Growing { is_own: false, ..self.clone() }
    }

    /// Says how far it has come; false where it was given up.
    pub(super) fn grow(&self, size: u64) -> bool {
        let mut state = lock(&self.shared.state);
        state.size = size;
        self.shared.changed.notify_all();
        state.end.is_none()
    }

    /// Says that all of it is there, or that it is given up; the first word counts.
    pub(super) fn end(&self, is_whole: bool) {
        let end = if is_whole { End::Whole } else { End::Abandoned };
        lock(&self.shared.state).end.get_or_insert(end);
        self.shared.changed.notify_all();
    }

    fn wait(&self, size: u64) -> State {
        let state = lock(&self.shared.state);
        let is_short = |state: &mut State| state.size < size && state.end.is_none();
        *self.shared.changed.wait_while(state, is_short).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a blob while it grows.
#[derive(Debug)]
pub struct GrowingReader {
    blob: Growing,
    at: u64,
}

impl Read for GrowingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.blob.wait(self.at + 1);
        if state.end == Some(End::Abandoned) {
            return Err(io::Error::other("the blob was given up while it was made"));
        }
        let there = usize::try_from(state.size - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.blob.file.read_at(&mut buffer[..there], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
