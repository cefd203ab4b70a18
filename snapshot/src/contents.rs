//! A layer's table of contents as bytes: what it has at each path, so that its shape outlives its files.
//!
//! Version 1: a byte 1, then for each path in the order of the layer's tar: how many bytes it shares with the path before it,
//! the rest of it, what is there, and for what is not deleted permissions, owner, time in seconds, attributes, and by kind
//! a size and the SHA-256 (32 bytes, or none), a link or a device. Numbers are LEB128, signed ones zigzag; byte strings have their length before them.

use std::borrow::Borrow;

use kiln_sys::fs::Time;

use crate::checksum::Sum;
use crate::recipe::blank;
use crate::xattrs::Xattrs;
use crate::{Change, ChangeKind, Metadata, Node};

const VERSION: u8 = 1;

/// What a layer has at one path, with the SHA-256 of its bytes where that is known.
pub type Listed = (Change, Option<Sum>);

/// Each kind's number and file type bits.
const REMOVED: u8 = 0;
const FILE: u8 = 1;
const HARD_LINK: u8 = 2;
const DIRECTORY: u8 = 3;
const OPAQUE: u8 = 4;
const SYMLINK: u8 = 5;
const CHAR_DEVICE: u8 = 6;
const BLOCK_DEVICE: u8 = 7;
const FIFO: u8 = 8;

/// Packs a table of contents.
pub fn encode(entries: impl IntoIterator<Item = (impl Borrow<Change>, Option<Sum>)>) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut last = Vec::new();
    for (change, sum) in entries {
        let Change { path, kind } = change.borrow();
        let shared = path.iter().zip(&last).take_while(|(a, b)| a == b).count();
        number(&mut out, shared as u64);
        bytes(&mut out, &path[shared..]);
        match kind {
            ChangeKind::Removed => out.push(REMOVED),
            ChangeKind::Put(metadata) => put(&mut out, metadata, sum.as_ref()),
        }
        last.clone_from(path);
    }
    out
}

fn put(out: &mut Vec<u8>, Metadata { node, stat, xattrs }: &Metadata, sum: Option<&Sum>) {
    out.push(kind_of(node));
    for value in [stat.permissions(), stat.uid, stat.gid] {
        number(out, value.into());
    }
    number(out, zigzag(stat.mtime.seconds));
    number(out, xattrs.len() as u64);
    for (name, value) in xattrs {
        bytes(out, name);
        bytes(out, value);
    }
    match node {
        Node::File => {
            number(out, stat.size);
            bytes(out, sum.map_or(&[], |sum| sum));
        }
        Node::HardLink(target) | Node::Symlink(target) => bytes(out, target),
        Node::CharDevice | Node::BlockDevice => {
            number(out, stat.rdev.0.into());
            number(out, stat.rdev.1.into());
        }
        Node::Directory { .. } | Node::Fifo => {}
    }
}

/// The table of contents that was packed; `None` for anything else.
pub fn decode(packed: &[u8]) -> Option<Vec<Listed>> {
    let (version, mut rest) = packed.split_first()?;
    let (mut entries, mut last) = (Vec::new(), Vec::new());
    if *version != VERSION {
        return None;
    }
    while !rest.is_empty() {
        let shared = usize::try_from(take_number(&mut rest)?).ok()?;
        let mut path = last.get(..shared)?.to_vec();
        path.extend_from_slice(take_bytes(&mut rest)?);
        last.clone_from(&path);
        let (kind, sum) = match take_byte(&mut rest)? {
            REMOVED => (ChangeKind::Removed, None),
            kind => {
                let (metadata, sum) = take_metadata(kind, &mut rest)?;
                (ChangeKind::Put(Box::new(metadata)), sum)
            }
        };
        entries.push((Change { path, kind }, sum));
    }
    Some(entries)
}

fn take_metadata(kind: u8, rest: &mut &[u8]) -> Option<(Metadata, Option<Sum>)> {
    let mut small = || u32::try_from(take_number(rest)?).ok();
    let (permissions, uid, gid) = (small()?, small()?, small()?);
    let mtime = Time { seconds: unzigzag(take_number(rest)?), nanoseconds: 0 };
    let mut stat = blank(type_of(kind)? | permissions & 0o7777, (uid, gid), mtime);
    let mut xattrs = Xattrs::new();
    for _ in 0..take_number(rest)? {
        xattrs.push((take_bytes(rest)?.to_vec(), take_bytes(rest)?.to_vec()));
    }
    let mut sum = None;
    let node = match kind {
        FILE => {
            stat.size = take_number(rest)?;
            sum = take_bytes(rest)?.try_into().ok();
            Node::File
        }
        HARD_LINK => Node::HardLink(take_bytes(rest)?.to_vec()),
        SYMLINK => Node::Symlink(take_bytes(rest)?.to_vec()),
        DIRECTORY | OPAQUE => Node::Directory { opaque: kind == OPAQUE },
        FIFO => Node::Fifo,
        _ => {
            stat.rdev = device(rest)?;
            if kind == CHAR_DEVICE { Node::CharDevice } else { Node::BlockDevice }
        }
    };
    Some((Metadata { node, stat, xattrs }, sum))
}

fn device(rest: &mut &[u8]) -> Option<(u32, u32)> {
    let mut part = || u32::try_from(take_number(rest)?).ok();
    Some((part()?, part()?))
}

fn kind_of(node: &Node) -> u8 {
    match node {
        Node::File => FILE,
        Node::HardLink(_) => HARD_LINK,
        Node::Directory { opaque: false } => DIRECTORY,
        Node::Directory { opaque: true } => OPAQUE,
        Node::Symlink(_) => SYMLINK,
        Node::CharDevice => CHAR_DEVICE,
        Node::BlockDevice => BLOCK_DEVICE,
        Node::Fifo => FIFO,
    }
}

/// The file type bits of `st_mode`.
fn type_of(kind: u8) -> Option<u32> {
    Some(match kind {
        FILE | HARD_LINK => 0o100_000,
        DIRECTORY | OPAQUE => 0o040_000,
        SYMLINK => 0o120_000,
        CHAR_DEVICE => 0o020_000,
        BLOCK_DEVICE => 0o060_000,
        FIFO => 0o010_000,
        _ => return None,
    })
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use kiln_sys::fs::Stat;

    use super::*;

    fn listed(path: &str, node: Node, change: impl FnOnce(&mut Stat)) -> Listed {
        let mut stat = blank(
            type_of(kind_of(&node)).unwrap() | 0o4755,
            (7, 1 << 31),
            Time { seconds: -5, nanoseconds: 0 },
        );
        change(&mut stat);
        let xattrs = vec![(b"user.note".to_vec(), vec![0, 255])];
        let sum = (node == Node::File).then_some([path.len() as u8; 32]);
        let kind = ChangeKind::Put(Box::new(Metadata { node, stat, xattrs }));
        (Change { path: path.as_bytes().to_vec(), kind }, sum)
    }

    fn every_kind() -> Vec<Listed> {
        let gone = Change { path: b"a/gone".to_vec(), kind: ChangeKind::Removed };
        vec![
            listed("a", Node::Directory { opaque: true }, |_| ()),
            (gone, None),
            listed("a/gone.not", Node::File, |stat| stat.size = 1 << 40),
            listed("a/link", Node::HardLink(b"a/gone.not".to_vec()), |_| ()),
            listed("a/\u{fc}\n", Node::Symlink(b"../x".to_vec()), |_| ()),
            listed("b", Node::Directory { opaque: false }, |_| ()),
            listed("b/null", Node::CharDevice, |stat| stat.rdev = (1, 3)),
            listed("b/pipe", Node::Fifo, |_| ()),
            listed("b/sda", Node::BlockDevice, |stat| stat.rdev = (8, 1 << 20)),
        ]
    }

    #[test]
    fn what_is_packed_comes_back() {
        let entries = every_kind();
        let packed = encode(entries.iter().map(|(change, sum)| (change, *sum)));
        assert_eq!(decode(&packed), Some(entries));
        assert_eq!(decode(&encode(Vec::<Listed>::new())), Some(Vec::new()));
    }

    #[test]
    fn damaged_bytes_are_nothing_and_no_panic() {
        let entries = every_kind();
        let packed = encode(entries.iter().map(|(change, sum)| (change, *sum)));
        let whole =
            (0..packed.len()).filter(|end| decode(&packed[..*end]).is_some_and(|list| list == entries));
        assert_eq!(whole.count(), 0);
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0xff;
            let _ = decode(&damaged);
        }
        assert_eq!(decode(b""), None);
        assert_eq!(decode(&[VERSION + 1]), None);
    }
}
