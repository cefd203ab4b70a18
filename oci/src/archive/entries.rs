//! The entries of a tar file by name, without reading their content and within limits.
//!
//! `tar`'s own reader keeps extended headers of any length in memory, so the few header kinds that archives of
//! images have are read here; nothing is ever written to a path found in an archive.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use tar::{EntryType, Header};

use super::ArchiveError;

const BLOCK: u64 = 512;
/// The most entries an archive may have.
const MAX_ENTRIES: usize = 200_000;
/// The most bytes of one extended header.
const MAX_EXTENSION: u64 = 1 << 20;
/// The most links followed from one name.
const MAX_LINKS: usize = 8;

/// Where a file's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) size: u64,
}

#[derive(Debug)]
enum Entry {
    File(Range),
    Link(String),
}

/// What an archive holds; of two entries with one name the later counts.
#[derive(Debug, Default)]
pub(super) struct Entries(HashMap<String, Entry>);

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Entries {
    /// Reads the headers of `file` from its start.
    pub(super) fn scan<R: Read + Seek>(file: &mut R) -> Result<Self, ArchiveError> {
        let mut entries = Entries::default();
        let mut extension = Extension::default();
        let end = file.seek(SeekFrom::End(0))?;
        let mut position = 0;
        while let Some(header) = read_header(file, position, end)? {
            let size = extension.size.take().map_or_else(|| header.entry_size(), Ok)?;
            let content = position + BLOCK;
            let next = size.checked_next_multiple_of(BLOCK).and_then(|size| content.checked_add(size));
            let next = next.filter(|_| content + size <= end).ok_or(ArchiveError::Truncated)?;
            let range = Range { offset: content, size };
            if !extension.take_in(file, header.entry_type(), range)? {
                entries.add(&header, range, &std::mem::take(&mut extension))?;
            }
            position = next;
        }
        Ok(entries)
    }

    /// Where the content of the file at `path` is, links followed.
    pub(super) fn find(&self, path: &str) -> Option<Range> {
        let mut path = normalise("", path);
        for _ in 0..MAX_LINKS {
            match self.0.get(&path)? {
                Entry::File(range) => return Some(*range),
                Entry::Link(target) => path = target.clone(),
            }
        }
        None
    }

    fn add(&mut self, header: &Header, range: Range, extension: &Extension) -> Result<(), ArchiveError> {
        if self.0.len() >= MAX_ENTRIES {
            return Err(ArchiveError::TooMany { what: "entries", limit: MAX_ENTRIES });
        }
        let path = extension.path.clone().unwrap_or_else(|| header.path_bytes().into_owned());
        let path = normalise("", &String::from_utf8_lossy(&path));
        let link =
            || extension.link.clone().or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let target = |base: &str| normalise(base, &String::from_utf8_lossy(&link().unwrap_or_default()));
        let entry = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => Entry::File(range),
            EntryType::Symlink => Entry::Link(target(path.rsplit_once('/').map_or("", |(dir, _)| dir))),
            EntryType::Link => Entry::Link(target("")),
            _ => return Ok(()),
        };
        self.0.insert(path, entry);
        Ok(())
    }
}

impl Extension {
    /// Takes in the content of an extended header; `false` where the entry is none.
    fn take_in<R: Read + Seek>(
        &mut self,
        file: &mut R,
        kind: EntryType,
        at: Range,
    ) -> Result<bool, ArchiveError> {
        match kind {
            EntryType::GNULongName => self.path = Some(read_text(file, at)?),
            EntryType::GNULongLink => self.link = Some(read_text(file, at)?),
            EntryType::XHeader => self.take_in_pax(&read_extension(file, at)?),
            EntryType::XGlobalHeader => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_in_pax(&mut self, records: &[u8]) {
        for record in tar::PaxExtensions::new(records).flatten() {
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => self.size = record.value().ok().and_then(|size| size.parse().ok()),
                _ => {}
            }
        }
    }
}

/// The header at `position`; `None` at the end mark or the end of the file.
fn read_header<R: Read + Seek>(
    file: &mut R,
    position: u64,
    end: u64,
) -> Result<Option<Header>, ArchiveError> {
    if position >= end && position > 0 {
        return Ok(None);
    }
    if position + BLOCK > end {
        return Err(ArchiveError::NotATar);
    }
    file.seek(SeekFrom::Start(position))?;
    let mut header = Header::new_old();
    file.read_exact(header.as_mut_bytes())?;
    if header.as_bytes().iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let sum = checksum(header.as_bytes());
    if header.cksum().ok() != Some(sum) {
        return Err(if position == 0 { ArchiveError::NotATar } else { ArchiveError::Damaged { position } });
    }
    Ok(Some(header))
}

/// The sum of a header's bytes, those of the sum itself counted as spaces.
fn checksum(header: &[u8; 512]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&header[..148]) + 8 * u32::from(b' ') + sum(&header[156..])
}

fn read_extension<R: Read + Seek>(file: &mut R, at: Range) -> Result<Vec<u8>, ArchiveError> {
    if at.size > MAX_EXTENSION {
        return Err(ArchiveError::TooMany { what: "bytes in a header", limit: MAX_EXTENSION as usize });
    }
    let mut bytes = vec![0; at.size as usize];
    file.seek(SeekFrom::Start(at.offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_text<R: Read + Seek>(file: &mut R, at: Range) -> Result<Vec<u8>, ArchiveError> {
    let mut text = read_extension(file, at)?;
    text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
    Ok(text)
}

/// `path` as seen from the directory `base`, without `.`, `..` and double slashes; it never leaves the archive.
fn normalise(base: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Reads the whole of a small file.
pub(super) fn read_all<R: Read + Seek>(
    file: &mut R,
    at: Range,
    limit: usize,
) -> Result<Vec<u8>, ArchiveError> {
    if at.size > limit as u64 {
        return Err(ArchiveError::TooMany { what: "bytes in a document", limit });
    }
    let mut bytes = vec![0; at.size as usize];
    file.seek(SeekFrom::Start(at.offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
