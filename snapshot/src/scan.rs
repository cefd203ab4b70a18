//! Everything in a tree with its metadata, read by several threads and listed in order.

use std::cmp::Ordering;
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

/// Something on the way of a scan.
struct Seen {
    found: Found,
    /// Whether it counts itself, or only as the directory of something that does.
    counts: bool,
}

/// The order of a walk: a slash comes before every other byte.
pub(crate) fn in_order(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: Option<&u8>| byte.map(|&b| if b == b'/' { 0 } else { b });
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    rank(a.get(at)).cmp(&rank(b.get(at)))
}

/// Leaves out directories that do not count and have nothing that does. In order, a directory is directly before
/// what is in it; so from behind, what is in it was kept last.
fn without_idle_directories(list: Vec<Seen>) -> Vec<Found> {
    let mut kept: Vec<Found> = Vec::with_capacity(list.len());
    for Seen { found, counts } in list.into_iter().rev() {
        let is_above =
            |last: &Found| last.path.strip_prefix(&*found.path).is_some_and(|rest| rest.starts_with(b"/"));
        if counts || kept.last().is_some_and(is_above) {
            kept.push(found);
        }
    }
    kept.reverse();
    kept
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
        let mut list = self.levels(root)?;
        list.par_sort_unstable_by(|a, b| in_order(&a.found.path, &b.found.path));
        Ok(without_idle_directories(list))
    }

    /// One name of a directory as the start of a scan: itself under an empty path, and all beneath it.
    pub(crate) fn name(&self, dir: BorrowedFd<'_>, name: &Path) -> Result<Vec<Found>> {
        let own = self.read(dir, name, Vec::new())?;
        let mut list = Vec::new();
        if own.stat.is_dir() {
            let inner = fs::open_dir(dir, if name.as_os_str().is_empty() { Path::new(".") } else { name })?;
            list = self.tree(&Root::from_fd(inner))?;
        }
        list.insert(0, own);
        Ok(list)
    }

    /// Level by level rather than by recursion: the depth of a tree is not ours to choose, and no directory stays
    /// open longer than it is read.
    fn levels(&self, root: &Root) -> Result<Vec<Seen>> {
        let mut list = Vec::new();
        let mut level = vec![Vec::new()];
        for _ in 0..=MAX_DEPTH {
            let seen: Vec<_> =
                level.par_iter().map(|path| self.directory(root, path)).collect::<Result<_>>()?;
            let start = list.len();
            list.extend(seen.into_iter().flatten());
            let below = list[start..].iter().filter(|seen| seen.found.stat.is_dir());
            level = below.map(|seen| seen.found.path.clone()).collect();
            if level.is_empty() {
                return Ok(list);
            }
        }
        Err(Error::TooDeep { path: show(&level[0]), limit: MAX_DEPTH })
    }

    fn directory(&self, root: &Root, path: &[u8]) -> Result<Vec<Seen>> {
        let dir = root.open_dir(as_path(path))?;
        let names = fs::read_dir(dir.as_fd())?;
        let one = |entry: &fs::Entry| self.one(dir.as_fd(), path, entry.name.as_bytes());
        let seen: Vec<_> = names.par_iter().with_min_len(TASK).map(one).collect::<Result<_>>()?;
        Ok(seen.into_iter().flatten().collect())
    }

    fn one(&self, dir: BorrowedFd<'_>, parent: &[u8], name: &[u8]) -> Result<Option<Seen>> {
        let path = joined(parent, name);
        let name = as_path(name);
        let stat = match fs::statat(dir, name) {
            // It was listed a moment ago.
            Err(error) if error.is_not_found() => return Err(Error::Changed { path: show(&path) }),
            other => other?,
        };
        let verdict = self.filter.map_or(Verdict::Take, |filter| filter.verdict(&path, stat.is_dir()));
        if verdict == Verdict::Prune || verdict == Verdict::Descend && !stat.is_dir() {
            return Ok(None);
        }
        let found = self.detailed(dir, name, path, stat)?;
        Ok(Some(Seen { found, counts: verdict == Verdict::Take }))
    }

    /// One name of a directory by itself, under `path`; the directory where the name is empty.
    pub(crate) fn read(&self, dir: BorrowedFd<'_>, name: &Path, path: Vec<u8>) -> Result<Found> {
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
