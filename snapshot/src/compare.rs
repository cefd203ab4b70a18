//! Two layer tars side by side: in what they differ, entry by entry.
//!
//! Both are read once, in step, and nothing of them is kept, so that memory does not grow with them. Their entries must be
//! in the order in which [`write_tar`](crate::write_tar()) has them; in other tars the same entry at another place is
//! told as one that is missing and one that is there.

mod side;

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;

use kiln_sys::fs::Time;

use crate::Result;
use crate::error::show;
use crate::read_tar::{EntryKind, Header, Piece};
use crate::xattrs::Xattrs;
use side::{Entry, Side};

/// What is read at once of each tar.
const PIECE: usize = 256 << 10;

/// One point in which the tars differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path, fit for a message; empty for the root.
    pub path: String,
    /// What is different about it.
    pub attribute: Attribute,
}

/// In what two entries of one path differ: the first tar's value, then the second's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
    /// Only the first tar has it.
    Missing,
    /// Only the second tar has it.
    Added,
    /// What it is.
    Kind(&'static str, &'static str),
    /// What a link leads to.
    Link(String, String),
    /// The numbers of a device.
    Device((u32, u32), (u32, u32)),
    /// The content of a file.
    Content {
        /// The first byte that differs, from 0.
        offset: u64,
        /// The bytes of both.
        sizes: (u64, u64),
    },
    /// The permissions.
    Mode(u32, u32),
    /// The numbers of user and group.
    Owner((u32, u32), (u32, u32)),
    /// An extended attribute, by name.
    Xattr(String),
    /// The time of the last change, in seconds and nanoseconds.
    Mtime((i64, u32), (i64, u32)),
}

impl Attribute {
    /// Whether it says no more than when something was written.
    pub fn is_time(&self) -> bool {
        matches!(self, Attribute::Mtime(..))
    }

    /// A word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Attribute::Missing => "missing",
            Attribute::Added => "added",
            Attribute::Kind(..) => "kind",
            Attribute::Link(..) => "link",
            Attribute::Device(..) => "device",
            Attribute::Content { .. } => "content",
            Attribute::Mode(..) => "mode",
            Attribute::Owner(..) => "owner",
            Attribute::Xattr(_) => "xattr",
            Attribute::Mtime(..) => "mtime",
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Missing => f.write_str("is in the first only"),
            Attribute::Added => f.write_str("is in the second only"),
            Attribute::Kind(first, second) => write!(f, "is a {first} and a {second}"),
            Attribute::Link(first, second) => write!(f, "leads to `{first}` and to `{second}`"),
            Attribute::Device(first, second) => {
                write!(f, "is device {}:{} and {}:{}", first.0, first.1, second.0, second.1)
            }
            Attribute::Content { offset, sizes: (first, second) } if first == second => {
                write!(f, "content differs from byte {offset} on ({first} bytes)")
            }
            Attribute::Content { offset, sizes: (first, second) } => {
                write!(f, "content differs from byte {offset} on ({first} and {second} bytes)")
            }
            Attribute::Mode(first, second) => write!(f, "mode is {first:04o} and {second:04o}"),
            Attribute::Owner(first, second) => {
                write!(f, "owner is {}:{} and {}:{}", first.0, first.1, second.0, second.1)
            }
            Attribute::Xattr(name) => write!(f, "extended attribute `{name}` differs"),
            Attribute::Mtime(first, second) => {
                write!(f, "mtime is {} and {}", seconds(*first), seconds(*second))
            }
        }
    }
}

fn seconds((seconds, nanoseconds): (i64, u32)) -> String {
    match nanoseconds {
        0 => seconds.to_string(),
        _ => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// Tells `found` of every difference, in the order of the tars, until it breaks off. Times after `clamp`, in seconds, count
/// as that. Fails where a tar cannot be read or is malformed.
pub fn compare(
    first: impl Read,
    second: impl Read,
    clamp: Option<i64>,
    mut found: impl FnMut(Difference) -> ControlFlow<()>,
) -> Result<()> {
    let (mut first, mut second) = (Side::new(first, PIECE)?, Side::new(second, PIECE)?);
    loop {
        let order = match (&first.entry, &second.entry) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.order(other),
        };
        let mut told = Vec::new();
        match (order, &first.entry, &second.entry) {
            (Ordering::Less, Some(entry), _) => told.push(entry.difference(Attribute::Missing)),
            (Ordering::Greater, _, Some(entry)) => told.push(entry.difference(Attribute::Added)),
            _ => told = same_path(&mut first, &mut second, clamp)?,
        }
        if told.into_iter().try_for_each(&mut found).is_break() {
            return Ok(());
        }
        if order.is_le() {
            first.advance()?;
        }
        if order.is_ge() {
            second.advance()?;
        }
    }
}

/// In what two entries of one path differ, what says most first.
fn same_path<A: Pieces, B: Pieces>(
    first: &mut Side<A>,
    second: &mut Side<B>,
    clamp: Option<i64>,
) -> Result<Vec<Difference>> {
    let (Some(one), Some(other)) = (&first.entry, &second.entry) else { return Ok(Vec::new()) };
    let (what, kinds) = (one.difference(Attribute::Missing), (one.kind(), other.kind()));
    if kinds.0 != kinds.1 {
        return Ok(vec![one.difference(Attribute::Kind(kinds.0, kinds.1))]);
    }
    let mut attributes = of_headers(&one.header, &other.header, clamp);
    let is_file = one.header.kind == EntryKind::File;
    let sizes = (one.header.size, other.header.size);
    if is_file && let Some(offset) = side::first_difference(first, second, sizes)? {
        attributes.insert(0, Attribute::Content { offset, sizes });
    }
    Ok(attributes.into_iter().map(|attribute| Difference { attribute, ..what.clone() }).collect())
}

fn of_headers(one: &Header, other: &Header, clamp: Option<i64>) -> Vec<Attribute> {
    let mut found = Vec::new();
    let mut add = |differs: bool, attribute: Attribute| {
        if differs {
            found.push(attribute);
        }
    };
    add(one.link != other.link, Attribute::Link(show(&one.link), show(&other.link)));
    add(one.device != other.device, Attribute::Device(one.device, other.device));
    add(one.mode != other.mode, Attribute::Mode(one.mode, other.mode));
    let owners = ((one.uid, one.gid), (other.uid, other.gid));
    add(owners.0 != owners.1, Attribute::Owner(owners.0, owners.1));
    if let Some(name) = xattr(&one.xattrs, &other.xattrs) {
        add(true, Attribute::Xattr(show(name)));
    }
    let times = (clamped(one.mtime, clamp), clamped(other.mtime, clamp));
    add(times.0 != times.1, Attribute::Mtime(times.0, times.1));
    found
}

/// The first attribute by name that only one has, or that has two values.
fn xattr<'a>(one: &'a Xattrs, other: &'a Xattrs) -> Option<&'a [u8]> {
    let lacks = |list: &Xattrs, entry: &(Vec<u8>, Vec<u8>)| !list.contains(entry);
    let of_one = one.iter().filter(|entry| lacks(other, entry));
    let of_other = other.iter().filter(|entry| lacks(one, entry));
    of_one.chain(of_other).map(|(name, _)| name.as_slice()).min()
}

fn clamped(time: Time, clamp: Option<i64>) -> (i64, u32) {
    match clamp {
        Some(clamp) if time.seconds >= clamp => (clamp, 0),
        _ => (time.seconds, time.nanoseconds),
    }
}

/// Where a tar comes from, piece by piece.
trait Pieces: FnMut() -> io::Result<Option<Piece>> {}

impl<F: FnMut() -> io::Result<Option<Piece>>> Pieces for F {}

impl Entry {
    fn difference(&self, attribute: Attribute) -> Difference {
        Difference { path: show(&self.path), attribute }
    }

    /// What it is, for people.
    fn kind(&self) -> &'static str {
        match self.header.kind {
            _ if self.is_deletion => "deletion",
            EntryKind::File => "file",
            EntryKind::HardLink => "hard link",
            EntryKind::Symlink => "symbolic link",
            EntryKind::CharDevice => "character device",
            EntryKind::BlockDevice => "block device",
            EntryKind::Directory => "directory",
            EntryKind::Fifo => "named pipe",
        }
    }
}

#[cfg(test)]
mod tests;
