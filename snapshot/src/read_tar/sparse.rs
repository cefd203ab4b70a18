//! Files with holes, in the four forms that GNU tar has written: its own header of type `S`, and three by PAX records.
//!
//! A map says where in the file the content goes that is stored, one piece after the other; the rest is holes.

use std::io;

use super::{BLOCK, Header, MAX_EXTENDED, Piece, Slice, TarReader, unsigned};
use crate::{Error, Result};

/// The most bytes that all holes of a tar may have: a file is read, hashed and copied with its holes.
pub(crate) const MAX_HOLES: u64 = 64 << 30;
/// An offset and a length in a header.
const PAIR: usize = 24;

/// A piece of a file's content, and where in the file it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Where the content of a file with holes goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// The size of the file with its holes.
    pub(crate) size: u64,
    /// In the order of the file, and none is empty.
    pub(crate) segments: Vec<Segment>,
}

impl Map {
    /// The map with these offsets and lengths, of a file of `size` bytes of which `stored` are in the tar.
    pub(super) fn new(size: u64, numbers: &[u64], stored: u64) -> Result<Map, &'static str> {
        let (pairs, []) = numbers.as_chunks() else { return Err("a sparse map ends with an offset") };
        let (mut end, mut total) = (0, 0);
        for &[offset, length] in pairs {
            let next = offset.checked_add(length).filter(|next| *next <= size);
            end = next.filter(|_| offset >= end).ok_or("a sparse map is out of order or leaves its file")?;
            total += length;
        }
        if total != stored {
            return Err("a sparse map does not fit what is stored");
        }
        let segments = pairs.iter().map(|&[offset, length]| Segment { offset, length });
        Ok(Map { size, segments: segments.filter(|segment| segment.length > 0).collect() })
    }

    /// How much of the file is holes.
    pub(super) fn holes(&self) -> u64 {
        self.segments.iter().fold(self.size, |holes, segment| holes - segment.length)
    }
}

impl<F: FnMut() -> io::Result<Option<Piece>>> TarReader<F> {
    /// The rest of the map that begins in the header `block`, which comes in blocks before the content.
    pub(super) fn old_map(&mut self, block: &[u8; BLOCK], stored: u64) -> Result<Map> {
        const MALFORMED: &str = "malformed map of a sparse file";
        let mut all = numbers(&block[386..482]).ok_or_else(|| self.bad(b"", MALFORMED))?;
        let (mut goes_on, mut blocks) = (block[482] != 0, 0);
        while goes_on {
            blocks += BLOCK as u64;
            self.check_map(blocks)?;
            let mut block = [0; BLOCK];
            if self.fill(&mut block)? < BLOCK {
                return Err(self.bad(b"", "the tar ends in the middle of a header"));
            }
            all.extend(numbers(&block[..504]).ok_or_else(|| self.bad(b"", MALFORMED))?);
            goes_on = block[504] != 0;
        }
        let size = unsigned(&block[483..495]).ok_or_else(|| self.bad(b"", MALFORMED))?;
        let map = Map::new(size, &all, stored).map_err(|reason| self.bad(b"", reason))?;
        self.count_holes(map)
    }

    /// The map that PAX records give, or that they say comes before the content of `header`.
    pub(super) fn new_map(&mut self, records: Records, header: &mut Header) -> Result<Map> {
        let mut before = None;
        if records.map_is_stored().map_err(|reason| self.bad(&header.path, reason))? {
            before = Some(self.stored_map(header)?);
        }
        let map = records.map(before, header.size).map_err(|reason| self.bad(&header.path, reason))?;
        self.count_holes(map)
    }

    /// Reads the map before the content, which is then as much smaller.
    fn stored_map(&mut self, header: &mut Header) -> Result<Vec<u64>> {
        let (mut map, mut length) = (StoredMap::default(), 0);
        loop {
            length += BLOCK as u64;
            self.check_map(length)?;
            header.size = header.size.checked_sub(BLOCK as u64).ok_or_else(|| {
                self.bad(&header.path, "the map of a sparse file does not end before its content does")
            })?;
            let mut slices = Vec::new();
            self.content(BLOCK, &mut slices)?;
            let block: Vec<u8> = slices.iter().flat_map(Slice::bytes).copied().collect();
            if map.add(&block).map_err(|reason| self.bad(&header.path, reason))? {
                return Ok(map.into_numbers());
            }
        }
    }

    fn check_map(&self, length: u64) -> Result<()> {
        if length > MAX_EXTENDED {
            return Err(Error::Limit { limit: "map of a sparse file", maximum: MAX_EXTENDED });
        }
        Ok(())
    }

    fn count_holes(&mut self, map: Map) -> Result<Map> {
        self.holes = self.holes.saturating_add(map.holes());
        if self.holes > MAX_HOLES {
            return Err(Error::Limit { limit: "holes of sparse files", maximum: MAX_HOLES });
        }
        Ok(map)
    }
}

/// The offsets and lengths in a header or a block that continues one; a field that begins with a zero byte ends them.
pub(super) fn numbers(fields: &[u8]) -> Option<Vec<u64>> {
    let used = fields.chunks_exact(PAIR).take_while(|pair| pair[0] != 0);
    used.flat_map(|pair| pair.chunks_exact(PAIR / 2)).map(unsigned).collect()
}

/// What PAX records say of the holes of the entry that follows.
#[derive(Debug, Default)]
pub(super) struct Records {
    major: u64,
    minor: u64,
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    numbers: Vec<u64>,
}

impl Records {
    /// Takes over the record `GNU.sparse.` with the rest of the key.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || decimal(value).ok_or("malformed number of a sparse file");
        match key {
            b"major" => self.major = number()?,
            b"minor" => self.minor = number()?,
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"offset" | b"numbytes" => {
                // They alternate, and an offset comes first.
                if self.numbers.len() % 2 != usize::from(key == b"numbytes") {
                    return Err("offsets and lengths of a sparse file do not alternate");
                }
                self.numbers.push(number()?);
            }
            b"map" => {
                let numbers = value.split(|&b| b == b',').map(decimal).collect::<Option<_>>();
                self.numbers = numbers.ok_or("malformed map of a sparse file")?;
            }
            // The number of pairs is seen from the pairs.
            _ => {}
        }
        Ok(())
    }

    /// Whether the map comes before the content and not in records (version 1.0).
    pub(super) fn map_is_stored(&self) -> Result<bool, &'static str> {
        match (self.major, self.minor) {
            (0, 0 | 1) => Ok(false),
            (1, 0) => Ok(true),
            _ => Err("unknown version of a sparse file"),
        }
    }

    /// The map, with the numbers that were stored before the content, if they were.
    pub(super) fn map(self, before: Option<Vec<u64>>, stored: u64) -> Result<Map, &'static str> {
        let size = self.size.ok_or("a sparse file does not say its size")?;
        Map::new(size, &before.unwrap_or(self.numbers), stored)
    }
}

/// The map before the content: lines with the number of pairs, then with each offset and length.
#[derive(Debug, Default)]
pub(super) struct StoredMap {
    line: Vec<u8>,
    /// The number of pairs comes first.
    numbers: Vec<u64>,
}

impl StoredMap {
    /// Reads one more block; whether the map is complete. What follows its last line is padding.
    pub(super) fn add(&mut self, block: &[u8]) -> Result<bool, &'static str> {
        for &byte in block {
            if self.is_complete() {
                break;
            }
            match byte {
                b'\n' => {
                    self.numbers.push(decimal(&self.line).ok_or("malformed map of a sparse file")?);
                    self.line.clear();
                }
                digit => self.line.push(digit),
            }
        }
        Ok(self.is_complete())
    }

    fn is_complete(&self) -> bool {
        self.numbers.first().is_some_and(|pairs| (self.numbers.len() as u64 - 1) / 2 == *pairs)
    }

    /// The offsets and lengths.
    pub(super) fn into_numbers(mut self) -> Vec<u64> {
        self.numbers.split_off(1.min(self.numbers.len()))
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok().filter(|n| i64::try_from(*n).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_in_order_and_fits() {
        let map = Map::new(100, &[0, 10, 50, 5, 100, 0], 15).unwrap();
        assert_eq!(map.segments, [Segment { offset: 0, length: 10 }, Segment { offset: 50, length: 5 }]);
        assert_eq!(map.holes(), 85);
        for (size, numbers, stored) in [
            (100, &[0, 10, 5, 5][..], 15),
            (100, &[50, 5, 0, 10], 15),
            (100, &[96, 5], 5),
            (100, &[0, 10], 11),
            (100, &[0], 0),
            (100, &[u64::MAX, 2], 2),
        ] {
            assert!(Map::new(size, numbers, stored).is_err(), "{numbers:?}");
        }
    }

    #[test]
    fn a_stored_map_may_end_anywhere_in_a_block() {
        let mut map = StoredMap::default();
        assert!(!map.add(b"2\n0\n5").unwrap());
        assert!(map.add(b"12\n600\n1\npadding").unwrap());
        assert_eq!(map.into_numbers(), [0, 512, 600, 1]);
        assert!(StoredMap::default().add(b"x\n").is_err());
        assert!(StoredMap::default().add(b"\n").is_err());
        assert!(StoredMap::default().add(b"0\n").unwrap());
    }
}
