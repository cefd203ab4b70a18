//! Everything in a tree with its metadata, read by several threads and listed in order.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use kiln_sys::fs::{self, Root, Stat, xattr};
use rayon::prelude::*;

use crate::error::show;
use crate::filter::{Filter, Verdict};
use crate::path::{MAX_DEPTH, as_path, joined};
use crate::xattrs::{Xattrs, is_content};
use crate::{Error, Result};

/// The fewest names that one task looks at.
const TASK: usize = 4;
/// The attribute by which an upper directory hides the lower ones.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Something in a tree.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Relative to where the scan began; empty for that itself.
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    /// Text of a symbolic link.
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) xattrs: Xattrs,
    /// A directory that overlayfs marked as hiding those below it.
    pub(crate) opaque: bool,
}

/// What of a tree is read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scan<'a> {
    pub(crate) filter: Option<&'a dyn Filter>,
    /// Read link texts and attributes too.
    pub(crate) details: bool,
}

impl<'a> Scan<'a> {
    /// Only metadata, of everything.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// Everything, of what the filter selects.
    pub(crate) fn full(filter: Option<&'a dyn Filter>) -> Self {
        Self { filter, details: true }
    }

    /// All beneath `root`: names in byte order, a directory directly before what is in it.
    pub(crate) fn tree(&self, root: &Root) -> Result<Vec<Found>> {
        let dir = fs::open_dir(root.as_fd(), ".")?;
        self.inside(dir.as_fd(), b"", 0)
    }

    /// One name of a directory as the start of a scan: itself under an empty path, and all beneath it.
    pub(crate) fn name(&self, dir: BorrowedFd<'_>, name: &Path) -> Result<Vec<Found>> {
        let own = self.read(dir, name, Vec::new())?;
        let mut list = Vec::new();
        if own.stat.is_dir() {
            let inner = fs::open_dir(dir, if name.as_os_str().is_empty() { Path::new(".") } else { name })?;
            list = self.inside(inner.as_fd(), b"", 0)?;
        }
        list.insert(0, own);
        Ok(list)
    }

    fn inside(&self, dir: BorrowedFd<'_>, path: &[u8], depth: usize) -> Result<Vec<Found>> {
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep { path: show(path), limit: MAX_DEPTH });
        }
        let mut names: Vec<_> = fs::read_dir(dir)?.into_iter().map(|entry| entry.name.into_vec()).collect();
        names.sort_unstable();
        let one = |name: &Vec<u8>| self.one(dir, path, name, depth);
        let lists: Vec<_> = names.par_iter().with_min_len(TASK).map(one).collect::<Result<_>>()?;
        Ok(lists.into_iter().flatten().collect())
    }

    fn one(&self, dir: BorrowedFd<'_>, parent: &[u8], name: &[u8], depth: usize) -> Result<Vec<Found>> {
        let path = joined(parent, name);
        let name = as_path(name);
        let stat = fs::statat(dir, name)?;
        let verdict = self.filter.map_or(Verdict::Take, |filter| filter.verdict(&path, stat.is_dir()));
        if verdict == Verdict::Prune || verdict == Verdict::Descend && !stat.is_dir() {
            return Ok(Vec::new());
        }
        let mut list = Vec::new();
        if stat.is_dir() {
            let inner = fs::open_dir(dir, name)?;
            list = self.inside(inner.as_fd(), &path, depth + 1)?;
            if verdict == Verdict::Descend && list.is_empty() {
                return Ok(list);
            }
        }
        list.insert(0, self.detailed(dir, name, path, stat)?);
        Ok(list)
    }

    fn read(&self, dir: BorrowedFd<'_>, name: &Path, path: Vec<u8>) -> Result<Found> {
        let stat = if name.as_os_str().is_empty() { fs::fstat(dir)? } else { fs::statat(dir, name)? };
        self.detailed(dir, name, path, stat)
    }

    fn detailed(&self, dir: BorrowedFd<'_>, name: &Path, path: Vec<u8>, stat: Stat) -> Result<Found> {
        let mut found = Found { path, stat, link: None, xattrs: Xattrs::new(), opaque: false };
        if !self.details {
            return Ok(found);
        }
        if stat.is_symlink() {
            found.link = Some(fs::readlinkat(dir, name)?.into_os_string().into_vec());
        } else if stat.is_dir() || stat.is_file() {
            read_attributes(dir, name, &mut found)?;
        }
        Ok(found)
    }
}

fn read_attributes(dir: BorrowedFd<'_>, name: &Path, found: &mut Found) -> Result<()> {
    for attribute in xattr::list(dir, name)? {
        if is_content(attribute.as_bytes()) {
            if let Some(value) = xattr::get(dir, name, &attribute)? {
                found.xattrs.push((attribute.into_vec(), value));
            }
        } else if attribute == OPAQUE {
            found.opaque = xattr::get(dir, name, &attribute)?.is_some_and(|value| value == b"y");
        }
    }
    found.xattrs.sort_unstable();
    Ok(())
}
