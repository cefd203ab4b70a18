//! A streaming reader of tar: ustar, GNU long names and sparse files, and PAX, with a limit on everything that is kept.

mod input;
mod number;
mod pax;
mod sparse;

use std::io::{self, BufRead, ErrorKind, Read};

use kiln_sys::fs::Time;

use crate::error::show;
use crate::xattrs::Xattrs;
use crate::{Error, Result};
use number::{octal, signed, unsigned};
use pax::Overrides;

pub use input::Piece;
pub(crate) use input::{Input, Slice, pieces_of};
pub(crate) use sparse::{Map, Segment};

/// The unit of a tar.
pub(crate) const BLOCK: usize = 512;
/// The most bytes that the extended headers of one entry may have.
pub(crate) const MAX_EXTENDED: u64 = 1 << 20;
/// The most bytes of a path or a link's text, as in the kernel.
pub(crate) const MAX_PATH: usize = 4096;
/// The most entries of one layer.
pub(crate) const MAX_ENTRIES: u64 = 1 << 24;
/// The most zero bytes after the end of the archive.
const MAX_PADDING: u64 = 64 << 20;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry with its extended headers applied.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    /// The bytes of content that are stored.
    pub(crate) size: u64,
    /// Where they go, if the file has holes.
    pub(crate) sparse: Option<Map>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Xattrs,
}

/// Reads entries one after the other.
pub(crate) struct TarReader<F> {
    input: Input<F>,
    /// Content of the current entry that was not read yet.
    left: u64,
    /// Zeros that follow the content.
    padding: usize,
    /// The number of the current entry, from 1.
    entry: u64,
    /// How much of the files so far was holes.
    holes: u64,
}

impl<F: FnMut() -> io::Result<Option<Piece>>> TarReader<F> {
    pub(crate) fn new(input: Input<F>) -> Self {
        Self { input, left: 0, padding: 0, entry: 0, holes: 0 }
    }

    /// The number of the current entry, from 1.
    pub(crate) fn entry(&self) -> u64 {
        self.entry
    }

    /// The next entry; `None` at the end, which is then verified to be the end.
    pub(crate) fn next(&mut self) -> Result<Option<Header>> {
        self.skip_content()?;
        self.entry += 1;
        if self.entry > MAX_ENTRIES {
            return Err(Error::Limit { limit: "entries of a layer", maximum: MAX_ENTRIES });
        }
        let mut extended = Overrides::default();
        loop {
            let Some(block) = self.block()? else { return Ok(None) };
            let kind = block[156];
            match kind {
                b'x' => extended.pax(&self.extended(&block)?).map_err(|reason| self.bad(b"", reason))?,
                b'g' => pax::global(&self.extended(&block)?).map_err(|reason| self.bad(b"", reason))?,
                b'L' => extended.path = Some(terminated(&self.extended(&block)?).to_vec()),
                b'K' => extended.link = Some(terminated(&self.extended(&block)?).to_vec()),
                _ => return self.header(&block, extended).map(Some),
            }
        }
    }

    /// Appends the next `count` bytes of the current entry's content, as they lie in memory.
    pub(crate) fn content(&mut self, count: usize, out: &mut Vec<Slice>) -> Result<()> {
        debug_assert!(count as u64 <= self.left);
        let mut missing = count;
        while missing > 0 {
            let Some(slice) = self.input.share(missing).map_err(failed)? else {
                return Err(self.bad(b"", "the tar ends in the middle of a file"));
            };
            missing -= slice.bytes().len();
            out.push(slice);
        }
        self.left -= count as u64;
        Ok(())
    }

    fn skip_content(&mut self) -> Result<()> {
        let count = self.left + self.padding as u64;
        if count > 0 {
            // A last block may lack its padding; a header that follows cannot.
            if self.skip(count)? < self.left {
                return Err(self.bad(b"", "the tar ends in the middle of a file"));
            }
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// Skips at most `count` bytes; how many there were.
    fn skip(&mut self, count: u64) -> Result<u64> {
        let mut skipped = 0;
        while skipped < count {
            let length = self.input.fill_buf().map_err(failed)?.len() as u64;
            if length == 0 {
                break;
            }
            let length = length.min(count - skipped);
            self.input.consume(length as usize);
            skipped += length;
        }
        Ok(skipped)
    }

    /// The next header block; `None` at the end of the archive.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(self.bad(b"", "the tar ends in the middle of a header")),
        }
        if block.iter().all(|&b| b == 0) {
            self.expect_end()?;
            return Ok(None);
        }
        if !checksum_fits(&block) {
            return Err(self.bad(b"", "header checksum does not match"));
        }
        Ok(Some(block))
    }

    /// After the first zero block only zeros may follow: what another reader might see is not ignored.
    fn expect_end(&mut self) -> Result<()> {
        let mut block = [0; 8 * BLOCK];
        let mut total = 0;
        loop {
            let count = self.fill(&mut block)?;
            if block[..count].iter().any(|&b| b != 0) {
                return Err(self.bad(b"", "data follows the end of the tar"));
            }
            total += count as u64;
            if total > MAX_PADDING {
                return Err(Error::Limit { limit: "padding after a layer", maximum: MAX_PADDING });
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Reads until `buffer` is full or the input ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(filled)
    }

    /// The content of an extended header.
    fn extended(&mut self, block: &[u8; BLOCK]) -> Result<Vec<u8>> {
        let size = unsigned(&block[124..136]).ok_or_else(|| self.bad(b"", "malformed size"))?;
        if size > MAX_EXTENDED {
            return Err(Error::Limit { limit: "extended header of a layer entry", maximum: MAX_EXTENDED });
        }
        self.expect_content(size);
        let mut slices = Vec::new();
        self.content(size as usize, &mut slices)?;
        self.skip_content()?;
        Ok(slices.iter().flat_map(Slice::bytes).copied().collect())
    }

    fn expect_content(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    }

    fn header(&mut self, block: &[u8; BLOCK], mut extended: Overrides) -> Result<Header> {
        let mut sparse = extended.sparse.take();
        let real_name = sparse.as_mut().and_then(|sparse| sparse.name.take());
        let path = real_name.or_else(|| extended.path.take()).unwrap_or_else(|| name(block));
        let mut header = parse(block, path.clone(), extended).map_err(|reason| self.bad(&path, reason))?;
        match sparse {
            _ if header.kind != EntryKind::File => {}
            None if block[156] == b'S' => header.sparse = Some(self.old_map(block, header.size)?),
            None => {}
            Some(records) => {
                self.expect_content(header.size);
                header.sparse = Some(self.new_map(records, &mut header)?);
                return Ok(header);
            }
        }
        self.expect_content(header.size);
        Ok(header)
    }

    /// An error about the current entry.
    pub(crate) fn bad(&self, path: &[u8], reason: impl Into<String>) -> Error {
        Error::Entry { entry: self.entry, path: show(path), reason: reason.into() }
    }
}

fn parse(block: &[u8; BLOCK], path: Vec<u8>, extended: Overrides) -> Result<Header, &'static str> {
    let kind = kind(block[156], &path)?;
    let link = extended.link.unwrap_or_else(|| terminated(&block[157..257]).to_vec());
    for text in [&path, &link] {
        if text.len() >= MAX_PATH {
            return Err("path is longer than 4095 bytes");
        }
        if text.contains(&0) {
            return Err("path contains a zero byte");
        }
    }
    let field = |range: std::ops::Range<usize>| unsigned(&block[range]).ok_or("malformed number");
    let id = |given: Option<u64>, range| {
        let id = given.map_or_else(|| field(range), Ok)?;
        // The largest number means "do not change" to chown.
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or("user or group id is out of range")
    };
    let size = extended.size.map_or_else(|| field(124..136), Ok)?;
    let seconds = signed(&block[136..148]).ok_or("malformed time")?;
    let device = |range| octal(&block[range]).and_then(|n| u32::try_from(n).ok()).ok_or("malformed device");
    let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    Ok(Header {
        kind,
        mode: (field(100..108)? & 0o7777) as u32,
        uid: id(extended.uid, 108..116)?,
        gid: id(extended.gid, 116..124)?,
        mtime: extended.mtime.unwrap_or(Time { seconds, nanoseconds: 0 }),
        // As in Go's reader, only a file has content, whatever the field says.
        size: if kind == EntryKind::File { size } else { 0 },
        sparse: None,
        device: if is_device { (device(329..337)?, device(337..345)?) } else { (0, 0) },
        xattrs: extended.xattrs,
        path,
        link,
    })
}

fn kind(flag: u8, path: &[u8]) -> Result<EntryKind, &'static str> {
    Ok(match flag {
        // Before ustar, a directory was a file whose name ends in a slash.
        0 | b'0' if path.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return Err("unknown entry type"),
    })
}

/// The name field, with the prefix that only POSIX headers have.
fn name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = terminated(&block[..100]);
    let prefix = if &block[257..263] == b"ustar\0" { terminated(&block[345..500]) } else { b"" };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn terminated(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&b| b == 0).unwrap_or(field.len())]
}

/// The sum of the header with its own field as spaces; old writers summed signed bytes.
fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let Some(stored) = octal(&block[148..156]) else { return false };
    let bytes = || block.iter().enumerate().map(|(at, &b)| if (148..156).contains(&at) { b' ' } else { b });
    let plain: u64 = bytes().map(u64::from).sum();
    let signed: i64 = bytes().map(|b| i64::from(b as i8)).sum();
    stored == plain || i64::try_from(stored) == Ok(signed)
}

fn failed(source: std::io::Error) -> Error {
    Error::io("read", "the layer tar")(source)
}
