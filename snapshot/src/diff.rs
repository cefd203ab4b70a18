//! What a tree has over its parent, as a sorted list of changes.

pub(crate) mod overlay;
mod walking;

use kiln_sys::fs::{Root, Stat};

use crate::xattrs::Xattrs;

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
