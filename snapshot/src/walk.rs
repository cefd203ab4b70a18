//! A depth-first walk of a tree by directory descriptors, in byte order of names.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use kiln_sys::fs::{self, Root, Stat};

use crate::error::show;
use crate::{Error, Result};

/// How deep a tree may be nested.
pub(crate) const MAX_DEPTH: usize = 1024;

/// One thing met on a walk.
pub(crate) struct Item<'a> {
    /// The directory it is in.
    pub(crate) dir: BorrowedFd<'a>,
    /// Its path beneath the root of the walk.
    pub(crate) path: &'a [u8],
    /// Its metadata.
    pub(crate) stat: Stat,
}

impl Item<'_> {
    /// Its name in its directory.
    pub(crate) fn name(&self) -> &Path {
        name_of(self.path)
    }
}

/// The last component of a path.
pub(crate) fn name_of(path: &[u8]) -> &Path {
    let start = path.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    Path::new(std::ffi::OsStr::from_bytes(&path[start..]))
}

/// Calls `visit` for everything beneath `root`, a directory before what is in it.
pub(crate) fn walk(root: &Root, visit: &mut dyn FnMut(Item<'_>) -> Result<()>) -> Result<()> {
    let dir = fs::open_dir(root.as_fd(), ".")?;
    descend(dir.as_fd(), &mut Vec::new(), 0, visit)
}

fn descend(
    dir: BorrowedFd<'_>,
    path: &mut Vec<u8>,
    depth: usize,
    visit: &mut dyn FnMut(Item<'_>) -> Result<()>,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep { path: show(path), limit: MAX_DEPTH });
    }
    let mut names: Vec<_> = fs::read_dir(dir)?.into_iter().map(|entry| entry.name.into_vec()).collect();
    names.sort_unstable();
    let base = path.len();
    for name in names {
        if base > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let name = Path::new(std::ffi::OsStr::from_bytes(&name));
        let stat = fs::statat(dir, name)?;
        visit(Item { dir, path, stat })?;
        if stat.is_dir() {
            let inner = fs::open_dir(dir, name)?;
            descend(inner.as_fd(), path, depth + 1, visit)?;
        }
        path.truncate(base);
    }
    Ok(())
}
