//! The shape of a filesystem: what is where, of which kind, and whose; known from a snapshot, from tables of contents of the
//! layers above it, or from both.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use kiln_sys::fs::{FileType, Root, Stat, Time};

use crate::path::{name_of, split};
use crate::scan::{Found, Scan};
use crate::tree::{Tree, forget_below};
use crate::{Change, ChangeKind, Metadata, Node, Result};

/// A filesystem that a layer is described for.
pub struct Shape {
    /// What of it is a snapshot.
    below: Option<Tree>,
    /// What layers above the snapshot say, by path; the highest word counts.
    known: BTreeMap<Vec<u8>, Known>,
}

/// What a layer says of a path.
enum Known {
    Gone,
    Here(Metadata),
}

impl Shape {
    /// The shape of what is beneath `below`, or of nothing.
    pub fn of(below: Option<&Root>) -> Result<Shape> {
        Ok(Shape { below: below.map(Tree::new).transpose()?, known: BTreeMap::new() })
    }

    /// Puts a layer on top.
    pub fn push(&mut self, layer: impl IntoIterator<Item = Change>) {
        for Change { path, kind } in layer {
            let known = match kind {
                ChangeKind::Removed => Known::Gone,
                ChangeKind::Put(metadata) => Known::Here(*metadata),
            };
            if !matches!(&known, Known::Here(Metadata { node: Node::Directory { opaque: false }, .. })) {
                forget_below(&mut self.known, &path);
            }
            // A layer that only changes a directory does not show again what a lower one of these hid in it.
            let hides = matches!(self.known.get(&path), Some(known) if !known.shows_below());
            let known = match known {
                Known::Here(Metadata { node: Node::Directory { opaque }, stat, xattrs }) => {
                    let node = Node::Directory { opaque: opaque || hides };
                    Known::Here(Metadata { node, stat, xattrs })
                }
                known => known,
            };
            self.known.insert(path, known);
        }
    }

    /// Whether a layer that is no snapshot says something of the canonical `path`, or hides it.
    pub fn is_above(&self, path: &[u8]) -> bool {
        self.known.contains_key(path) || self.is_hidden(path)
    }

    /// Whether something above `path` hides what lower layers have there.
    fn is_hidden(&self, path: &[u8]) -> bool {
        let mut above = path;
        while !above.is_empty() {
            above = split(above).0;
            if self.known.get(above).is_some_and(|known| !known.shows_below()) {
                return true;
            }
        }
        false
    }

    /// What has the canonical `path`; the root is a directory, whatever is known.
    pub(super) fn look(&mut self, path: &[u8]) -> Result<Option<Metadata>> {
        match self.known.get(path) {
            Some(Known::Gone) => return Ok(None),
            Some(Known::Here(metadata)) => return Ok(Some(metadata.clone())),
            None => {}
        }
        if self.is_hidden(path) {
            return Ok(None);
        }
        match &mut self.below {
            Some(tree) => look_in(tree, path),
            None => {
                Ok(path.is_empty().then(|| directory(0o755, (0, 0), Time { seconds: 0, nanoseconds: 0 })))
            }
        }
    }
}

impl Known {
    /// Whether lower layers show in this directory.
    fn shows_below(&self) -> bool {
        matches!(self, Known::Here(Metadata { node: Node::Directory { opaque: false }, .. }))
    }
}

fn look_in(tree: &mut Tree, path: &[u8]) -> Result<Option<Metadata>> {
    let parent = split(path).0;
    if !tree.is_directory(parent)? {
        return Ok(None);
    }
    let dir = tree.directory(parent)?;
    match Scan::full(None).read(dir.as_fd(), name_of(path), Vec::new()) {
        Ok(found) => Ok(Some(metadata(found))),
        Err(crate::Error::Sys(error)) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn metadata(found: Found) -> Metadata {
    let node = match found.stat.file_type() {
        FileType::Directory => Node::Directory { opaque: false },
        FileType::Symlink => Node::Symlink(found.link.unwrap_or_default()),
        FileType::CharacterDevice => Node::CharDevice,
        FileType::BlockDevice => Node::BlockDevice,
        FileType::Fifo => Node::Fifo,
        // A socket is in the way as a file is.
        _ => Node::File,
    };
    Metadata { node, stat: found.stat, xattrs: found.xattrs }
}

/// A directory that is made, with permissions and owner.
pub(super) fn directory(mode: u32, owner: (u32, u32), mtime: Time) -> Metadata {
    const S_IFDIR: u32 = 0o040_000;
    let stat = blank(S_IFDIR | mode & 0o7777, owner, mtime);
    Metadata { node: Node::Directory { opaque: false }, stat, xattrs: Vec::new() }
}

/// The metadata of something that is on no disk.
pub(crate) fn blank(mode: u32, (uid, gid): (u32, u32), mtime: Time) -> Stat {
    Stat {
        mode,
        uid,
        gid,
        size: 0,
        blocks: 0,
        ino: 0,
        nlink: 1,
        dev: (0, 0),
        rdev: (0, 0),
        mtime,
        ctime: mtime,
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shape").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Draft;

    /// Whether `etc/passwd` must be unpacked to be read, where this is above a snapshot that has it.
    fn is_described(layer: Vec<(&str, Metadata)>) -> bool {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["etc", "conf"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("passwd"), folder).unwrap();
        }
        let mut shape = Shape::of(Some(&Root::open(dir.path()).unwrap())).unwrap();
        let put = |(path, metadata): (&str, Metadata)| {
            let kind = ChangeKind::Put(Box::new(metadata));
            Change { path: path.as_bytes().to_vec(), kind }
        };
        shape.push(layer.into_iter().map(put));
        Draft::on(shape).is_described(b"etc/passwd").unwrap()
    }

    fn with(node: Node) -> Metadata {
        let mut metadata = directory(0o755, (0, 0), Time { seconds: 0, nanoseconds: 0 });
        metadata.stat.mode = if matches!(node, Node::Directory { .. }) { 0o040_755 } else { 0o120_777 };
        metadata.node = node;
        metadata
    }

    #[test]
    fn a_file_is_read_below_only_where_nothing_above_leads_elsewhere() {
        assert!(!is_described(Vec::new()));
        assert!(!is_described(vec![("etc", with(Node::Directory { opaque: false }))]));
        assert!(is_described(vec![("etc/passwd", with(Node::Symlink(b"/conf/passwd".to_vec())))]));
        assert!(is_described(vec![("etc", with(Node::Directory { opaque: true }))]));
        assert!(is_described(vec![("etc", with(Node::Symlink(b"conf".to_vec())))]));
    }
}
