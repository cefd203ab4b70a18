//! One of two tars that are read in step.

use std::cmp::Ordering;
use std::io::Read;

use super::{PIECE, Pieces};
use crate::apply::name::{Meaning, meaning};
use crate::read_tar::{Header, Input, Slice, TarReader, pieces_of};
use crate::scan::in_order;
use crate::{Error, Result};

/// An entry by what it means for a tree.
pub(super) struct Entry {
    /// The path that it is about.
    pub(super) path: Vec<u8>,
    /// Whether it takes the path, or what is in it, away.
    pub(super) is_deletion: bool,
    /// Whether it is about what is in the path: it follows the path's own entry.
    is_opaque: bool,
    pub(super) header: Header,
}

impl Entry {
    /// Which of two comes first in a tar.
    pub(super) fn order(&self, other: &Entry) -> Ordering {
        in_order(&self.path, &other.path).then(self.is_opaque.cmp(&other.is_opaque))
    }
}

/// A tar and where it has been read to.
pub(super) struct Side<F> {
    tar: TarReader<F>,
    /// The entry at hand; `None` at the end.
    pub(super) entry: Option<Entry>,
    slices: Vec<Slice>,
    bytes: Vec<u8>,
}

/// Reads a tar from its beginning, in pieces of `size`.
impl Side<()> {
    pub(super) fn new(tar: impl Read, size: usize) -> Result<Side<impl Pieces>> {
        let tar = TarReader::new(Input::new(pieces_of(tar, size)));
        let mut side = Side { tar, entry: None, slices: Vec::new(), bytes: Vec::new() };
        side.advance()?;
        Ok(side)
    }
}

impl<F: Pieces> Side<F> {
    /// Goes on to the next entry, past what was not read of this one.
    pub(super) fn advance(&mut self) -> Result<()> {
        self.entry = loop {
            let Some(header) = self.tar.next()? else { break None };
            let (path, is_deletion, is_opaque) = match self.meaning(&header)? {
                Meaning::Root => (Vec::new(), false, false),
                Meaning::Put(path) => (path, false, false),
                Meaning::Delete(path) => (path, true, false),
                Meaning::Opaque(path) => (path, true, true),
                Meaning::Skip => continue,
            };
            break Some(Entry { path, is_deletion, is_opaque, header });
        };
        Ok(())
    }

    fn meaning(&self, header: &Header) -> Result<Meaning> {
        let bad = |reason: &str| -> Error { self.tar.bad(&header.path, reason) };
        meaning(&header.path, header.kind).map_err(bad)
    }

    /// The next `count` bytes of the entry's content.
    fn content(&mut self, count: usize) -> Result<&[u8]> {
        self.slices.clear();
        self.bytes.clear();
        self.tar.content(count, &mut self.slices)?;
        self.slices.iter().for_each(|slice| self.bytes.extend_from_slice(slice.bytes()));
        Ok(&self.bytes)
    }
}

/// The first byte in which the content of the two entries at hand differs; the end of the shorter one counts.
pub(super) fn first_difference<A: Pieces, B: Pieces>(
    first: &mut Side<A>,
    second: &mut Side<B>,
    sizes: (u64, u64),
) -> Result<Option<u64>> {
    let common = sizes.0.min(sizes.1);
    let mut at = 0;
    while at < common {
        let count = (common - at).min(PIECE as u64) as usize;
        let (one, other) = (first.content(count)?, second.content(count)?);
        if one != other {
            let equal = one.iter().zip(other).take_while(|(a, b)| a == b).count();
            return Ok(Some(at + equal as u64));
        }
        at += count as u64;
    }
    Ok((sizes.0 != sizes.1).then_some(common))
}
