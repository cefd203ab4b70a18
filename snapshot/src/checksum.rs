//! The digest of what a tree holds: path, type, mode, owner, content, link and attributes, but no times.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kiln_oci::{Digest, Digester};
use kiln_sys::fs::{self, Root, Stat};
use rayon::prelude::*;

pub use crate::filter::{Filter, Verdict};

use crate::error::show;
use crate::path::{as_path, joined, name_of, split};
use crate::scan::{Found, Scan};
use crate::tree::Tree;
use crate::xattrs::Xattrs;
use crate::{Error, Result};

/// What of a file is read at once.
pub(crate) const PIECE: usize = 256 << 10;

/// Remembers the content digest of files whose metadata did not change.
pub trait Memo: Sync {
    /// The digest of the file at `path` (relative to the root), if it is known for this very state of it.
    fn get(&self, path: &[u8], stat: &Stat) -> Option<Digest>;
    /// Remembers it.
    fn put(&self, path: &[u8], stat: &Stat, digest: &Digest);
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
    /// A symbolic link that the selected path itself is stands for itself; it is followed without this.
    pub as_link: bool,
}

impl fmt::Debug for ChecksumOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("ChecksumOptions");
        text.field("filter", &self.filter.is_some()).field("owner", &self.owner);
        text.field("memo", &self.memo.is_some()).field("as_link", &self.as_link).finish()
    }
}

/// One selected path with its metadata, and the content's digest if it is a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the selected path; empty for that path itself.
    pub path: Vec<u8>,
    /// Its metadata.
    pub stat: Stat,
    /// Of a symbolic link: its text.
    pub link: Option<Vec<u8>>,
    /// Its extended attributes that belong into a layer.
    pub xattrs: Xattrs,
    /// Of a file: its content. Of a symbolic link: its text.
    pub content: Option<Digest>,
    /// The digest of everything that counts of it.
    pub digest: Digest,
}

/// The digest of `path` beneath `root` (a link there is followed inside the root, or is itself what counts) and of what is selected below it.
/// The name of the path itself does not count. `None` when there is no such path.
pub fn checksum(root: &Root, path: &Path, options: &ChecksumOptions<'_>) -> Result<Option<Digest>> {
    Ok(entries(root, path, options)?.map(|(_, list)| digest_of(&list)))
}

/// The canonical path of `path` (as [`checksum`] finds it), and the selected paths with their digests: names in byte order, a
/// directory directly before what is in it.
pub fn entries(
    root: &Root,
    path: &Path,
    options: &ChecksumOptions<'_>,
) -> Result<Option<(Vec<u8>, Vec<Entry>)>> {
    let mut tree = Tree::new(root)?;
    let Some(base) = tree.locate(path.as_os_str().as_bytes(), !options.as_link)? else { return Ok(None) };
    let parent = tree.directory(split(&base).0)?;
    let found = Scan::full(options.filter).name(parent.as_fd(), name_of(&base))?;
    let one = |found: Found| entry(root, &base, found, options);
    let entries = found.into_par_iter().map(one).collect::<Result<_>>()?;
    Ok(Some((base, entries)))
}

/// One digest of a list of entries.
pub fn digest_of(entries: &[Entry]) -> Digest {
    let mut all = Digester::sha256();
    for entry in entries {
        add(&mut all, &entry.path);
        all.update(entry.digest.as_str().as_bytes());
    }
    all.finish()
}

fn entry(root: &Root, base: &[u8], found: Found, options: &ChecksumOptions<'_>) -> Result<Entry> {
    let Found { path, stat, link, xattrs, .. } = found;
    let content = match &link {
        Some(text) => Some(Digest::of(text)),
        None if stat.is_file() => Some(content(root, &joined(base, &path), &stat, options.memo)?),
        None => None,
    };
    let (uid, gid) = options.owner.unwrap_or((stat.uid, stat.gid));
    let mut one = Digester::sha256();
    for number in [stat.mode, uid, gid, stat.rdev.0, stat.rdev.1] {
        one.update(&number.to_le_bytes());
    }
    add(&mut one, content.as_ref().map_or(b"", |digest| digest.as_str().as_bytes()));
    for (name, value) in &xattrs {
        add(&mut one, name);
        add(&mut one, value);
    }
    Ok(Entry { path, stat, link, xattrs, content, digest: one.finish() })
}

/// Adds bytes with their length, so that no two lists of them look the same.
fn add(digester: &mut Digester, bytes: &[u8]) {
    digester.update(&(bytes.len() as u64).to_le_bytes());
    digester.update(bytes);
}

fn content(root: &Root, path: &[u8], stat: &Stat, memo: Option<&dyn Memo>) -> Result<Digest> {
    if let Some(known) = memo.and_then(|memo| memo.get(path, stat)) {
        return Ok(known);
    }
    let mut file = match root.open_file(as_path(path)) {
        // It was seen a moment ago.
        Err(error) if error.is_not_found() => return Err(Error::Changed { path: show(path) }),
        other => other?,
    };
    let mut digester = Digester::sha256();
    let mut buffer = vec![0; PIECE.min(stat.size as usize + 1)];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", show(path)))? {
            0 => break,
            count => digester.update(&buffer[..count]),
        }
    }
    unchanged(&file, stat, path)?;
    let digest = digester.finish();
    if let Some(memo) = memo {
        memo.put(path, stat, &digest);
    }
    Ok(digest)
}

/// Fails if an open file is not (any more) what was seen before.
pub(crate) fn unchanged(file: &File, seen: &Stat, path: &[u8]) -> Result<()> {
    let now = fs::fstat(file.as_fd())?;
    let same = (now.dev, now.ino, now.size, now.mtime) == (seen.dev, seen.ino, seen.size, seen.mtime);
    if same && now.is_file() { Ok(()) } else { Err(Error::Changed { path: show(path) }) }
}
