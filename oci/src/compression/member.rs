//! One member of a gzip file (RFC 1952) that says in its header how long it is, so that members are found without inflating.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};

use libdeflater::{CompressionLvl, Compressor, Decompressor, crc32};

use super::cut;

/// The version of what is written here: another one wherever the same bytes would be compressed to others.
const VERSION: u8 = 1;
/// Magic, deflate, an extra field, no time; the system is unknown.
const START: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// The extra field: its length, the name and length of its only part.
const EXTRA: [u8; 6] = [10, 0, b'k', b'n', 6, 0];
/// Bytes before the deflated ones: what is above, the version, the level, and the length of the whole member.
const HEAD: usize = START.len() + EXTRA.len() + 6;
/// Bytes after them: checksum and length of the content.
const TAIL: usize = 8;

/// The most bytes that may follow a header: deflate makes nothing longer by more than 5 bytes in 5,000 and a few.
const MOST_FOLLOWING: usize = cut::MOST + cut::MOST / 512 + 1024;

/// A member that is somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Where it begins.
    pub at: u64,
    /// Its length.
    pub size: u32,
    /// The CRC-32 of its content.
    pub checksum: u32,
    /// The length of its content.
    pub length: u32,
}

/// The members of a file that was packed here at this level by this version, as far as it is that.
pub fn members(file: &mut (impl Read + Seek), level: u8) -> io::Result<Vec<Member>> {
    let (end, mut at) = (file.seek(SeekFrom::End(0))?, 0);
    let mut found = Vec::new();
    while at + ((HEAD + TAIL) as u64) < end {
        let (mut head, mut tail) = ([0; HEAD], [0; TAIL]);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut head)?;
        let size = match head.strip_prefix(&start(level)[..]).and_then(|size| size.first_chunk()) {
            Some(size) => u32::from_le_bytes(*size),
            None => break,
        };
        let next = at + u64::from(size);
        if (size as usize) < HEAD + TAIL || next > end {
            break;
        }
        file.seek(SeekFrom::Start(next - TAIL as u64))?;
        file.read_exact(&mut tail)?;
        let [c0, c1, c2, c3, l0, l1, l2, l3] = tail;
        let (checksum, length) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([l0, l1, l2, l3]));
        found.push(Member { at, size, checksum, length });
        at = next;
    }
    Ok(found)
}

/// How many bytes follow the header with this extra field, if it is one of ours.
pub(super) fn following(extra: &[u8]) -> Option<usize> {
    let ours = extra.strip_prefix(&EXTRA[2..])?;
    let [VERSION, _level, s0, s1, s2, s3] = *ours else { return None };
    let following = (u32::from_le_bytes([s0, s1, s2, s3]) as usize).checked_sub(HEAD)?;
    (TAIL..=MOST_FOLLOWING).contains(&following).then_some(following)
}

/// The content of a member without its header.
pub(super) fn inflate(rest: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static INFLATING: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    }
    let bad = |message: &'static str| io::Error::new(io::ErrorKind::InvalidData, message);
    let Some((deflated, &[c0, c1, c2, c3, l0, l1, l2, l3])) = rest.split_last_chunk::<TAIL>() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let (checksum, length) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([l0, l1, l2, l3]));
    if length as usize > cut::MOST {
        return Err(bad("a gzip member says that it has more than any of its kind"));
    }
    let mut content = vec![0; length as usize];
    let inflated =
        INFLATING.with_borrow_mut(|inflating| inflating.deflate_decompress(deflated, &mut content));
    if inflated.ok() != Some(content.len()) || crc32(&content) != checksum {
        return Err(bad("gzip checksum mismatch"));
    }
    Ok(content)
}

/// The bytes of a header but for the length.
fn start(level: u8) -> Vec<u8> {
    [&START[..], &EXTRA, &[VERSION, level]].concat()
}

/// The checksum and the length by which a member for `block` is looked for.
pub(super) fn sign(block: &[u8]) -> (u32, u32) {
    (crc32(block), block.len() as u32)
}

/// The member of `block`, whose `sign` is known.
pub(super) fn compress(block: &[u8], sign: (u32, u32), level: u8) -> io::Result<Vec<u8>> {
    thread_local! {
        /// The one that this thread used last.
        static COMPRESSOR: RefCell<Option<(u8, Compressor)>> = const { RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|last| {
        let new = || {
            let level_of = CompressionLvl::new(i32::from(level)).unwrap_or_default();
            (level, Compressor::new(level_of))
        };
        let (_, compressor) = match last {
            Some((of, _)) if *of != level => last.insert(new()),
            _ => last.get_or_insert_with(new),
        };
        let mut member = vec![0; HEAD + compressor.deflate_compress_bound(block.len()) + TAIL];
        let deflated = compressor.deflate_compress(block, &mut member[HEAD..]).map_err(io::Error::other)?;
        member.truncate(HEAD + deflated);
        let size = (HEAD + deflated + TAIL) as u32;
        member[..HEAD].copy_from_slice(&[&start(level)[..], &size.to_le_bytes()].concat());
        member.extend(tail(sign));
        Ok(member)
    })
}

/// Whether `member` is one of this version and level, and inflates to `block`, whose `sign` is known.
pub(super) fn is_of(member: &[u8], block: &[u8], sign: (u32, u32), level: u8) -> bool {
    thread_local! {
        static INFLATING: RefCell<(Decompressor, Vec<u8>)> = RefCell::new((Decompressor::new(), Vec::new()));
    }
    let head = [&start(level)[..], &(member.len() as u32).to_le_bytes()].concat();
    let Some(deflated) = member.strip_prefix(&head[..]).and_then(|rest| rest.len().checked_sub(TAIL)) else {
        return false;
    };
    INFLATING.with_borrow_mut(|(decompressor, content)| {
        content.resize(block.len(), 0);
        let inflated = decompressor.deflate_decompress(&member[HEAD..HEAD + deflated], content);
        inflated == Ok(block.len()) && content == block && member[HEAD + deflated..] == tail(sign)
    })
}

/// The bytes after the deflated ones.
fn tail((checksum, length): (u32, u32)) -> [u8; TAIL] {
    let ([c0, c1, c2, c3], [l0, l1, l2, l3]) = (checksum.to_le_bytes(), length.to_le_bytes());
    [c0, c1, c2, c3, l0, l1, l2, l3]
}
