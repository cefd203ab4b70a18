//! The section `.dep-v0` of a program that `cargo auditable` built: a list of packages as zlib-compressed JSON.
//!
//! Only the little-endian 64-bit ELF files of today's machines are looked into.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use flate2::read::ZlibDecoder;

/// How such files begin: ELF, 64 bits, little-endian.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
/// The name of the section.
const SECTION: &[u8] = b".dep-v0";
/// The length of the file's header and of one of a section.
const HEADER: usize = 64;
/// The most sections of a file that is looked into.
const MAX_SECTIONS: usize = 1024;
/// The most bytes of all names of sections.
const MAX_NAMES: u64 = 1 << 20;
/// The most bytes of a list, as it is stored and as it is.
const MAX_STORED: u64 = 8 << 20;
const MAX_LIST: u64 = 64 << 20;

/// The list of a program; `None` where it has none that can be read.
pub(super) fn list(file: &mut File) -> Option<Vec<u8>> {
    let header = at(file, 0, HEADER as u64)?;
    if !header.starts_with(MAGIC) {
        return None;
    }
    let (offset, count) = (number(&header, 0x28, 8)?, number(&header, 0x3c, 2)?);
    let (size, names) = (number(&header, 0x3a, 2)?, number(&header, 0x3e, 2)?);
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_SECTIONS)?;
    let table = at(file, offset, (count * HEADER) as u64).filter(|_| size == HEADER as u64)?;
    let sections: Vec<&[u8]> = table.chunks_exact(HEADER).collect();
    let names = contents(file, sections.get(usize::try_from(names).ok()?)?, MAX_NAMES)?;
    let is_ours = |section: &&&[u8]| {
        let start = number(section, 0, 4).and_then(|start| usize::try_from(start).ok());
        let rest = start.and_then(|start| names.get(start..)).unwrap_or_default();
        rest.strip_prefix(SECTION).is_some_and(|after| after.first() == Some(&0))
    };
    let stored = contents(file, sections.iter().find(is_ours)?, MAX_STORED)?;
    let mut list = Vec::new();
    ZlibDecoder::new(&*stored).take(MAX_LIST).read_to_end(&mut list).ok()?;
    Some(list)
}

fn contents(file: &mut File, section: &[u8], limit: u64) -> Option<Vec<u8>> {
    let (offset, size) = (number(section, 0x18, 8)?, number(section, 0x20, 8)?);
    if size > limit { None } else { at(file, offset, size) }
}

fn at(file: &mut File, offset: u64, size: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let digits = bytes.get(at..at.checked_add(size)?)?;
    Some(digits.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    /// A program of nothing but a list.
    pub(in crate::sbom) fn program(json: &str) -> Vec<u8> {
        let mut stored = ZlibEncoder::new(Vec::new(), Compression::fast());
        stored.write_all(json.as_bytes()).unwrap();
        let (stored, names) = (stored.finish().unwrap(), b"\0.dep-v0\0");
        let names_at = HEADER + stored.len();
        let table_at = names_at + names.len();
        let section = |name: u32, offset: usize, size: usize| {
            let mut bytes = vec![0; HEADER];
            bytes[..4].copy_from_slice(&name.to_le_bytes());
            bytes[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            bytes[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            bytes
        };
        let mut header = vec![0; HEADER];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[0x28..0x30].copy_from_slice(&(table_at as u64).to_le_bytes());
        header[0x3a..0x3c].copy_from_slice(&(HEADER as u16).to_le_bytes());
        header[0x3c] = 2;
        let sections = [section(0, names_at, names.len()), section(1, HEADER, stored.len())].concat();
        [&header, &stored, &names[..], &sections].concat()
    }

    fn list_of(bytes: &[u8]) -> Option<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        list(&mut file).map(|list| String::from_utf8(list).unwrap())
    }

    #[test]
    fn a_list_is_found_by_the_name_of_its_section() {
        let program = program("{\"packages\":[]}");
        assert_eq!(list_of(&program).as_deref(), Some("{\"packages\":[]}"));
        for length in 0..program.len() {
            assert_eq!(list_of(&program[..length]), None, "cut after {length} bytes");
        }
        assert_eq!(list_of(b"#!/bin/sh\n"), None);
    }
}
