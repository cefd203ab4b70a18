//! A tar as it comes, in pieces of memory that are handed on to whoever writes them, and not copied.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

/// Bytes in memory that several threads read.
pub type Piece = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A part of a piece.
#[derive(Clone)]
pub(crate) struct Slice {
    piece: Piece,
    range: Range<usize>,
}

impl Slice {
    pub(crate) fn bytes(&self) -> &[u8] {
        &(*self.piece).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice").field("range", &self.range).finish_non_exhaustive()
    }
}

/// Reads pieces one after the other; `next` gives them until there are none.
pub(crate) struct Input<F> {
    next: F,
    current: Option<Piece>,
    at: usize,
}

impl<F: FnMut() -> io::Result<Option<Piece>>> Input<F> {
    pub(crate) fn new(next: F) -> Self {
        Self { next, current: None, at: 0 }
    }

    /// The next bytes without a copy, at most `count`; none at the end.
    pub(crate) fn share(&mut self, count: usize) -> io::Result<Option<Slice>> {
        let length = self.fill_buf()?.len().min(count);
        let Some(piece) = self.current.clone().filter(|_| length > 0) else { return Ok(None) };
        let range = self.at..self.at + length;
        self.consume(length);
        Ok(Some(Slice { piece, range }))
    }
}

impl<F: FnMut() -> io::Result<Option<Piece>>> Read for Input<F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(out)?;
        self.consume(length);
        Ok(length)
    }
}

impl<F: FnMut() -> io::Result<Option<Piece>>> BufRead for Input<F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.as_ref().is_none_or(|piece| self.at == (**piece).as_ref().len()) {
            // What was read is let go of before more is waited for.
            self.current = None;
            let Some(next) = (self.next)()? else { return Ok(&[]) };
            (self.current, self.at) = (Some(next), 0);
        }
        Ok(self.current.as_ref().map_or(&[], |piece| &(**piece).as_ref()[self.at..]))
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}

/// Gives what `reader` has in pieces of `size`.
pub(crate) fn pieces_of(mut reader: impl Read, size: usize) -> impl FnMut() -> io::Result<Option<Piece>> {
    move || {
        let mut piece = Vec::with_capacity(size);
        let length = (&mut reader).take(size as u64).read_to_end(&mut piece)?;
        Ok((length > 0).then(|| Arc::new(piece) as Piece))
    }
}
