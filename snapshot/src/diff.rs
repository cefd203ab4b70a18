//! What a tree has over its parent, as a sorted list of changes.

mod overlay;
mod walking;

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use kiln_sys::fs::{FileType, Root, Stat};

use crate::apply::WHITEOUT;
use crate::error::show;
use crate::path::split;
use crate::scan::{Found, Scan};
use crate::xattrs::Xattrs;
use crate::{Error, Result};

pub use overlay::diff_upper;
pub use walking::diff_trees;

/// Changes, and the tree that has the content of what was put.
#[derive(Debug)]
pub struct Changes {
    /// Beneath it are the files that `list` names.
    pub root: Root,
    /// Sorted so that a directory comes before what is in it.
    pub list: Vec<Change>,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path, relative, without a leading or trailing slash.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was deleted.
    Removed,
    /// It was added or modified.
    Put(Box<Metadata>),
}

/// Everything of a file but its content and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub node: Node,
    /// Its metadata on disk.
    pub stat: Stat,
    /// Its extended attributes that belong into a layer.
    pub xattrs: Xattrs,
}

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File,
    /// Another name of an earlier path of the same list.
    HardLink(Vec<u8>),
    /// A directory; an opaque one hides what lower layers have beneath it.
    Directory {
        /// Whether it hides the lower layers'.
        opaque: bool,
    },
    /// A symbolic link and its text.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// A whole tree as it is now, its root first, under the empty path.
pub fn list_tree(root: &Root) -> Result<Vec<Change>> {
    listed(Scan::full(None).name(root.as_fd(), Path::new(""))?)
}

/// What is at `name` in `dir` and no directory; nothing of what no tar holds.
pub fn list_file(dir: &Root, name: &Path) -> Result<Vec<Change>> {
    listed(vec![Scan::full(None).read(dir.as_fd(), name, name.as_os_str().as_bytes().to_vec())?])
}

fn listed(found: Vec<Found>) -> Result<Vec<Change>> {
    let mut listing = Listing::default();
    found.into_iter().try_for_each(|found| listing.put(found))?;
    Ok(listing.list)
}

/// Changes in the making: finds the hard links among them.
#[derive(Default)]
struct Listing {
    list: Vec<Change>,
    /// The first path of each file that has several.
    first: HashMap<((u32, u32), u64), Vec<u8>>,
}

impl Listing {
    fn put(&mut self, found: Found) -> Result<()> {
        if split(&found.path).1.starts_with(WHITEOUT) {
            return Err(Error::WhiteoutName { path: show(&found.path) });
        }
        let Some(node) = self.node(&found) else { return Ok(()) };
        let Found { path, stat, xattrs, .. } = found;
        self.list.push(Change { path, kind: ChangeKind::Put(Box::new(Metadata { node, stat, xattrs })) });
        Ok(())
    }

    /// What a found path is; `None` for what no layer holds.
    fn node(&mut self, found: &Found) -> Option<Node> {
        Some(match found.stat.file_type() {
            FileType::RegularFile => self.file(found),
            FileType::Directory => Node::Directory { opaque: found.opaque },
            FileType::Symlink => Node::Symlink(found.link.clone().unwrap_or_default()),
            FileType::CharacterDevice => Node::CharDevice,
            FileType::BlockDevice => Node::BlockDevice,
            FileType::Fifo => Node::Fifo,
            _ => return None,
        })
    }

    fn file(&mut self, found: &Found) -> Node {
        if found.stat.nlink < 2 {
            return Node::File;
        }
        match self.first.get(&(found.stat.dev, found.stat.ino)) {
            Some(first) => Node::HardLink(first.clone()),
            None => {
                self.first.insert((found.stat.dev, found.stat.ino), found.path.clone());
                Node::File
            }
        }
    }
}
