//! What a recipe has at one path, in few bytes: there may be a hundred thousand.

use std::num::NonZeroU64;
use std::sync::Arc;

use kiln_sys::fs::{Stat, Time};
use sha2::{Digest as _, Sha256};

use super::shape::blank;
use crate::checksum::{Identity, Sum};
use crate::path::joined;
use crate::xattrs::Xattrs;
use crate::{Change, ChangeKind, Metadata, Node};

/// What the layer has at one path.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) path: Box<[u8]>,
    mode: u32,
    owner: (u32, u32),
    links: u32,
    pub(crate) size: u64,
    pub(crate) mtime: Time,
    /// Few have any.
    more: Option<Box<More>>,
    pub(crate) origin: Origin,
    /// Of a directory: nothing of lower layers is in it.
    pub(super) is_new: bool,
    /// Of a directory: its time stays as it is, whatever is put in it.
    pub(super) is_timed: bool,
}

/// What only some have.
#[derive(Debug)]
struct More {
    /// What it is, where its mode does not say that.
    node: Option<Node>,
    device: (u32, u32),
    xattrs: Xattrs,
}

/// Where the bytes of a file of a recipe are.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// It has none: it is no file.
    Nowhere,
    /// Here.
    Bytes(Vec<u8>),
    /// In a file of another tree.
    File(SourceFile),
}

/// A file that a recipe takes.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// Which of the recipe's copies took it.
    pub(super) copied: u32,
    /// Where in the path of what it became its part of the path begins: after what the copy made.
    pub(super) inside: u32,
    /// What was seen of it.
    pub(crate) seen: Identity,
    /// The SHA-256 that its bytes must have.
    pub(crate) expected: Option<Sum>,
    /// Where another tar has the same bytes.
    pub(crate) packed: Option<NonZeroU64>,
}

/// Something that was copied.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    /// Which of the recipe's trees it is in.
    pub(crate) root: usize,
    /// Its path there.
    pub(super) from: Arc<[u8]>,
}

impl Item {
    pub(super) fn new(path: Vec<u8>, metadata: Metadata, origin: Origin) -> Item {
        let Stat { mode, uid, gid, nlink, size, mtime, .. } = metadata.stat;
        Item {
            path: path.into(),
            mode,
            owner: (uid, gid),
            links: nlink,
            size,
            mtime,
            more: More::of(metadata),
            origin,
            is_new: false,
            is_timed: false,
        }
    }

    /// Gives it other metadata.
    pub(super) fn set(&mut self, metadata: Metadata) {
        let Stat { mode, uid, gid, nlink, size, mtime, .. } = metadata.stat;
        (self.mode, self.owner, self.links, self.size, self.mtime) = (mode, (uid, gid), nlink, size, mtime);
        self.more = More::of(metadata);
    }

    /// Makes it something else.
    pub(super) fn become_node(&mut self, node: Node) {
        let metadata = Metadata { node, ..self.metadata() };
        self.set(metadata);
    }

    pub(super) fn node(&self) -> Node {
        let special = self.more.as_ref().and_then(|more| more.node.clone());
        special.unwrap_or(if self.is_dir() { Node::Directory { opaque: false } } else { Node::File })
    }

    pub(super) fn is_dir(&self) -> bool {
        blank(self.mode, self.owner, self.mtime).is_dir()
    }

    /// Whether it is a file of which other names may be in the layer.
    pub(super) fn is_linked(&self) -> bool {
        self.links > 1 && self.node() == Node::File
    }

    pub(super) fn metadata(&self) -> Metadata {
        let rdev = self.more.as_ref().map_or((0, 0), |more| more.device);
        let xattrs = self.more.as_ref().map_or_else(Vec::new, |more| more.xattrs.clone());
        let stat = blank(self.mode, self.owner, self.mtime);
        let stat = Stat { size: self.size, nlink: self.links, rdev, ..stat };
        Metadata { node: self.node(), stat, xattrs }
    }

    /// As a layer's change.
    pub(crate) fn change(&self) -> Change {
        Change { path: self.path.to_vec(), kind: ChangeKind::Put(Box::new(self.metadata())) }
    }
}

impl More {
    fn of(metadata: Metadata) -> Option<Box<More>> {
        let Metadata { node, stat, xattrs } = metadata;
        let is_plain = matches!(node, Node::File | Node::Directory { opaque: false });
        let node = (!is_plain).then_some(node);
        (node.is_some() || !xattrs.is_empty()).then(|| Box::new(More { node, device: stat.rdev, xattrs }))
    }
}

impl Origin {
    pub(super) fn sum(&self) -> Option<Sum> {
        match self {
            Origin::Nowhere => None,
            Origin::Bytes(bytes) => Some(Sha256::digest(bytes).into()),
            Origin::File(file) => file.expected,
        }
    }
}

impl SourceFile {
    /// The tree that it is in, and its path there, when it becomes the file at `place`.
    pub(crate) fn place(&self, copied: &[Copied], place: &[u8]) -> (usize, Vec<u8>) {
        let Copied { root, from } = &copied[self.copied as usize];
        (*root, joined(from, place.get(self.inside as usize..).unwrap_or_default()))
    }
}
