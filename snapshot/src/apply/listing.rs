//! The table of contents of a layer that is being unpacked.

use kiln_sys::fs::Time;

use crate::read_tar::{EntryKind, Header};
use crate::recipe::blank;
use crate::{Change, ChangeKind, Metadata, Node};

/// The most bytes that are kept of what a layer has; one that has more gets no table of contents.
const MAX_LISTED: usize = 256 << 20;

/// What was unpacked so far; nothing where nobody wants to know, where it is too much, or where the layer does what no list of
/// changes says.
#[derive(Debug)]
pub(super) struct Listing {
    list: Option<Vec<Change>>,
    /// About how much memory it takes.
    bytes: usize,
}

impl Listing {
    pub(super) fn new(is_wanted: bool) -> Listing {
        Listing { list: is_wanted.then(Vec::new), bytes: 0 }
    }

    /// The whole.
    pub(super) fn finish(self) -> Option<Vec<Change>> {
        self.list
    }

    /// Something is put at the canonical `path`.
    pub(super) fn put(&mut self, path: &[u8], header: &Header) {
        if self.list.is_none() {
            return;
        }
        let (node, kind) = match header.kind {
            EntryKind::File => (Node::File, 0o100_000),
            EntryKind::HardLink => (Node::HardLink(header.link.clone()), 0o100_000),
            EntryKind::Directory => (Node::Directory { opaque: false }, 0o040_000),
            EntryKind::Symlink => (Node::Symlink(header.link.clone()), 0o120_000),
            EntryKind::CharDevice => (Node::CharDevice, 0o020_000),
            EntryKind::BlockDevice => (Node::BlockDevice, 0o060_000),
            EntryKind::Fifo => (Node::Fifo, 0o010_000),
        };
        let mut stat = blank(kind | header.mode & 0o7777, (header.uid, header.gid), header.mtime);
        let size = header.sparse.as_ref().map_or(header.size, |map| map.size);
        (stat.size, stat.rdev) = (size, header.device);
        let metadata = Metadata { node, stat, xattrs: header.xattrs.clone() };
        let xattrs: usize = header.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.push(path, ChangeKind::Put(Box::new(metadata)), header.link.len() + xattrs);
    }

    /// A directory that the tar does not have is made at the canonical `path`.
    pub(super) fn made(&mut self, path: &[u8]) {
        let stat = blank(0o040_755, (0, 0), Time { seconds: 0, nanoseconds: 0 });
        let metadata = Metadata { node: Node::Directory { opaque: false }, stat, xattrs: Vec::new() };
        self.push(path, ChangeKind::Put(Box::new(metadata)), 0);
    }

    /// What lower layers have at the canonical `path` is deleted.
    pub(super) fn deleted(&mut self, path: &[u8]) {
        self.push(path, ChangeKind::Removed, 0);
    }

    /// What lower layers have in the directory at the canonical `path` is deleted.
    pub(super) fn opaque(&mut self, path: &[u8]) {
        let found = self.list.iter_mut().flatten().rev().find(|change| change.path == path);
        match found.map(|change| &mut change.kind) {
            Some(ChangeKind::Put(put)) if matches!(put.node, Node::Directory { .. }) => {
                put.node = Node::Directory { opaque: true };
            }
            // The layer says nothing else of the directory, and a list cannot say this alone.
            _ => self.unknown(),
        }
    }

    /// The layer does something that a list does not say.
    pub(super) fn unknown(&mut self) {
        self.list = None;
    }

    /// Adds a change that has `more` bytes beside its path.
    fn push(&mut self, path: &[u8], kind: ChangeKind, more: usize) {
        let Some(list) = &mut self.list else { return };
        self.bytes += size_of::<Change>() + size_of::<Metadata>() + path.len() + more;
        if self.bytes > MAX_LISTED {
            self.list = None;
        } else {
            list.push(Change { path: path.to_vec(), kind });
        }
    }
}
