//! The digest of what a tree holds: path, type, mode, owner, content, link and attributes, but no times.

mod listing;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use kiln_oci::Digest;
use kiln_sys::fs::{self, Root, Stat, Time};
use sha2::{Digest as _, Sha256};

pub use crate::filter::{Filter, Verdict};
pub use listing::{Entry, Listing, Stamp};

use crate::error::show;
use crate::path::name_of;
use crate::xattrs::Xattrs;
use crate::{Error, Result};

/// What of a file is read at once.
pub(crate) const PIECE: usize = 256 << 10;

/// SHA-256, bare: there are many of them.
pub type Sum = [u8; 32];

/// Remembers the content's SHA-256 of files whose metadata did not change.
pub trait Memo: Sync {
    /// That of the file at `path` (relative to the root), if it is known for this very state of it.
    fn get(&self, path: &[u8], stat: &Stat) -> Option<Sum>;
    /// Remembers it.
    fn put(&self, path: &[u8], stat: &Stat, sum: &Sum);
}

/// What of a tree is looked at, and how.
#[derive(Clone, Copy, Default)]
pub struct ChecksumOptions<'a> {
    /// Which paths below the selected one count; all without it.
    pub filter: Option<&'a dyn Filter>,
    /// Take these numbers for every owner: a context is owned by nobody.
    pub owner: Option<(u32, u32)>,
    /// Where digests of unchanged files are kept.
    pub memo: Option<&'a dyn Memo>,
    /// A link at the selected path counts itself, and not what it leads to.
    pub as_link: bool,
}

impl fmt::Debug for ChecksumOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("ChecksumOptions");
        text.field("filter", &self.filter.is_some()).field("owner", &self.owner);
        text.field("memo", &self.memo.is_some()).field("as_link", &self.as_link).finish()
    }
}

/// The digest of `path` beneath `root` (a link there is followed inside the root, or is itself what counts) and of what is
/// selected below it. The name of the path itself does not count. `None` when there is no such path.
pub fn checksum(root: &Root, path: &Path, options: &ChecksumOptions<'_>) -> Result<Option<Digest>> {
    Listing::of(root, path, options)?.map(|mut listing| listing.read(root, options)).transpose()
}

/// Everything that counts of one path, its name aside.
fn sum(stat: &Stat, content: Option<&Sum>, xattrs: &Xattrs, owner: Option<(u32, u32)>) -> Sum {
    let (uid, gid) = owner.unwrap_or((stat.uid, stat.gid));
    let mut one = Sha256::new();
    for number in [stat.mode, uid, gid, stat.rdev.0, stat.rdev.1] {
        one.update(number.to_le_bytes());
    }
    add(&mut one, content.map_or(&[], |sum| sum));
    for (name, value) in xattrs {
        add(&mut one, name);
        add(&mut one, value);
    }
    one.finalize().into()
}

/// Adds bytes with their length, so that no two lists of them look the same.
fn add(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// The content of a file of the directory `dir`; `path` is its whole path.
fn content(dir: BorrowedFd<'_>, path: &[u8], stat: &Stat, memo: Option<&dyn Memo>) -> Result<Sum> {
    if let Some(known) = memo.and_then(|memo| memo.get(path, stat)) {
        return Ok(known);
    }
    let mut file = match fs::open_file(dir, name_of(path)) {
        // It was seen a moment ago.
        Err(error) if error.is_not_found() => return Err(Error::Changed { path: show(path) }),
        other => other?,
    };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE.min(stat.size as usize + 1)];
    let mut left = stat.size;
    loop {
        let count = file.read(&mut buffer).map_err(Error::io("read", show(path)))?;
        hash.update(&buffer[..count]);
        left = left.saturating_sub(count as u64);
        // Where nothing is left the buffer had room for more: a file that has more is another one now, as is seen below.
        if count == 0 || left == 0 && count < buffer.len() {
            break;
        }
    }
    unchanged(&file, &Identity::of(stat), path)?;
    let sum = hash.finalize().into();
    if let Some(memo) = memo {
        memo.put(path, stat, &sum);
    }
    Ok(sum)
}

/// By what a file is known again that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: (u32, u32),
    inode: u64,
    /// Its bytes.
    pub(crate) size: u64,
    mtime: Time,
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Identity {
        Identity { device: stat.dev, inode: stat.ino, size: stat.size, mtime: stat.mtime }
    }
}

/// Fails if an open file is not (any more) what was seen before.
pub(crate) fn unchanged(file: &File, seen: &Identity, path: &[u8]) -> Result<()> {
    let now = fs::fstat(file.as_fd())?;
    let same = Identity::of(&now) == *seen && now.is_file();
    if same { Ok(()) } else { Err(Error::Changed { path: show(path) }) }
}
