//! Everything in a tree with its metadata, read by several threads and listed in order.

mod levels;
mod stamping;

use std::cmp::Ordering;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use kiln_sys::fs::{self, Root, Stat, xattr};
use kiln_sys::user_namespace::is_confined;
use rayon::prelude::*;

use crate::error::show;
use crate::filter::{Filter, Verdict};
use crate::path::{MAX_DEPTH, as_path, join};
use crate::xattrs::{Xattrs, is_content};
use crate::{Error, Result};
use levels::Directory;

pub(crate) use levels::{At, Levels, Read};
pub(crate) use stamping::Stamping;

/// The names that one task looks at: a directory of so many is not worth sharing out.
const TASK: usize = 256;
/// The attribute by which an upper directory hides the lower ones.
const OPAQUE: &str = "trusted.overlay.opaque";
/// The same in a user namespace.
const USER_OPAQUE: &str = "user.overlay.opaque";

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

/// What is read of something, beyond its metadata.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    /// Text of a symbolic link.
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) xattrs: Xattrs,
    opaque: bool,
}

/// The order of a walk: a slash comes before every other byte.
pub(crate) fn in_order(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: Option<&u8>| byte.map(|&b| if b == b'/' { 0 } else { b });
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    rank(a.get(at)).cmp(&rank(b.get(at)))
}

/// What of a tree is read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scan<'a> {
    pub(crate) filter: Option<&'a dyn Filter>,
    /// Read link texts and attributes too.
    pub(crate) details: bool,
    /// Sum up what the kernel notes.
    stamped: bool,
}

impl<'a> Scan<'a> {
    /// Only metadata, of everything.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// Only metadata, of what the filter selects, and that in short.
    pub(crate) fn stamped(filter: Option<&'a dyn Filter>) -> Self {
        Self { filter, details: false, stamped: true }
    }

    /// Everything, of what the filter selects.
    pub(crate) fn full(filter: Option<&'a dyn Filter>) -> Self {
        Self { filter, details: true, stamped: false }
    }

    /// All beneath `root`: names in byte order, a directory directly before what is in it.
    pub(crate) fn tree(&self, root: &Root) -> Result<Vec<Found>> {
        Ok(self.levels(root, self.directory(root, b"")?)?.list())
    }

    /// One name of a directory as the start of a scan: itself under an empty path, and all beneath it.
    pub(crate) fn name(&self, dir: BorrowedFd<'_>, name: &Path) -> Result<Vec<Found>> {
        Ok(self.named(dir, name)?.list())
    }

    /// The same, packed.
    pub(crate) fn named(&self, dir: BorrowedFd<'_>, name: &Path) -> Result<Levels> {
        let own = self.read(dir, name, Vec::new())?;
        let mut top = Directory::new(b"", 1);
        let Found { path, stat, link, xattrs, opaque } = own;
        top.push(&path, stat, Details { link, xattrs, opaque }, true);
        if self.stamped {
            top.stamp();
        }
        if !stat.is_dir() {
            return Ok(Levels::new(top));
        }
        let inner = fs::open_dir(dir, if name.as_os_str().is_empty() { Path::new(".") } else { name })?;
        self.levels(&Root::from_fd(inner), top)
    }

    /// What is in the directories of `top`, which is at the root. Level by level rather than by recursion: the depth of a tree is
    /// not ours to choose, and no directory stays open longer than it is read.
    fn levels(&self, root: &Root, top: Directory) -> Result<Levels> {
        let mut levels = Levels::new(top);
        loop {
            let below = levels.below();
            let Some(first) = below.first() else { break };
            if levels.depth() > MAX_DEPTH {
                return Err(Error::TooDeep { path: show(first), limit: MAX_DEPTH });
            }
            let level = below.par_iter().map(|path| self.directory(root, path)).collect::<Result<_>>()?;
            levels.push(level);
        }
        levels.settle();
        Ok(levels)
    }

    fn directory(&self, root: &Root, path: &[u8]) -> Result<Directory> {
        let dir = root.open_dir(as_path(path))?;
        let mut names = fs::read_dir(dir.as_fd())?;
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut all = Directory::new(path, names.len());
        if names.len() <= TASK {
            self.add(dir.as_fd(), &names, &mut all)?;
        } else {
            let part = |names: &[fs::Entry]| {
                let mut part = Directory::new(path, names.len());
                self.add(dir.as_fd(), names, &mut part)?;
                Ok(part)
            };
            let parts: Vec<Directory> = names.par_chunks(TASK).map(part).collect::<Result<_>>()?;
            parts.into_iter().for_each(|part| all.append(part));
        }
        if self.stamped {
            all.stamp();
        }
        Ok(all)
    }

    /// Adds what `names` of the directory `dir` are.
    fn add(&self, dir: BorrowedFd<'_>, names: &[fs::Entry], list: &mut Directory) -> Result<()> {
        let mut path = list.path().to_vec();
        let parent = path.len();
        for fs::Entry { name, .. } in names {
            path.truncate(parent);
            join(&mut path, name.as_bytes());
            let stat = match fs::statat(dir, name) {
                // It was listed a moment ago.
                Err(error) if error.is_not_found() => return Err(Error::Changed { path: show(&path) }),
                other => other?,
            };
            let verdict = self.filter.map_or(Verdict::Take, |filter| filter.verdict(&path, stat.is_dir()));
            if verdict == Verdict::Prune || verdict == Verdict::Descend && !stat.is_dir() {
                continue;
            }
            let details = self.details.then(|| Details::read(dir, Path::new(name), &stat)).transpose()?;
            list.push(name.as_bytes(), stat, details.unwrap_or_default(), verdict == Verdict::Take);
        }
        Ok(())
    }

    /// One name of a directory by itself, under `path`; the directory where the name is empty.
    pub(crate) fn read(&self, dir: BorrowedFd<'_>, name: &Path, path: Vec<u8>) -> Result<Found> {
        let stat = if name.as_os_str().is_empty() { fs::fstat(dir)? } else { fs::statat(dir, name)? };
        let details = self.details.then(|| Details::read(dir, name, &stat)).transpose()?;
        Ok(Found::new(path, stat, details.unwrap_or_default()))
    }
}

impl Found {
    fn new(path: Vec<u8>, stat: Stat, details: Details) -> Found {
        let Details { link, xattrs, opaque } = details;
        Found { path, stat, link, xattrs, opaque }
    }
}

impl Details {
    /// Reads those of `name` in `dir`, whose metadata is known.
    pub(crate) fn read(dir: BorrowedFd<'_>, name: &Path, stat: &Stat) -> Result<Details> {
        let mut details = Details::default();
        if stat.is_symlink() {
            details.link = Some(fs::readlinkat(dir, name)?.into_os_string().into_vec());
        }
        if !stat.is_dir() && !stat.is_file() {
            return Ok(details);
        }
        for attribute in xattr::list(dir, name)? {
            if is_content(attribute.as_bytes()) {
                if let Some(value) = xattr::get(dir, name, &attribute)? {
                    details.xattrs.push((attribute.into_vec(), value));
                }
            } else if attribute == OPAQUE || attribute == USER_OPAQUE && is_confined() {
                details.opaque = xattr::get(dir, name, &attribute)?.is_some_and(|value| value == b"y");
            }
        }
        details.xattrs.sort_unstable();
        Ok(details)
    }

    /// Nothing where there is nothing.
    fn packed(self) -> Option<Box<Details>> {
        let is_plain = self.link.is_none() && self.xattrs.is_empty() && !self.opaque;
        (!is_plain).then(|| Box::new(self))
    }
}
