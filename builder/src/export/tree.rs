//! The exporter that hands files to somebody else: all platforms' as one tree, read through views.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_snapshot::{Change, ChangeKind, Metadata, Node, diff_trees};
use kiln_sys::fs::{Root, Time};

use super::Built;
use super::files::{FILE_MODE, FOLDER_MODE, Options, refuse_overlap, statements};
use crate::context::join;
use crate::error::Cause;
use crate::tree::{TakeTree, Tree, TreeEntry, TreeNode, compare, nanoseconds};
use crate::workspace::View;

/// Hands the files of the result over, those of each platform in a folder where `wanted` says so.
pub(super) fn hand_over(
    store: &Arc<Store>,
    built: &Built,
    to: Box<dyn TakeTree>,
    wanted: &Options,
) -> Result<(), Cause> {
    let split = wanted.split.unwrap_or(built.multi_platform);
    if !split {
        refuse_overlap(store, built)?;
    }
    let views = built.images.iter().map(|image| View::of(store, &image.layers));
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let epoch = wanted.epoch.or(built.epoch);
    let mut listing = Listing::default();
    for (image, view) in built.images.iter().zip(&views) {
        let folder = if split { image.folder().into_bytes() } else { Vec::new() };
        let (root, number) = (view.root()?, listing.roots.len());
        if split {
            listing.add(made(folder.clone(), TreeNode::Directory, FOLDER_MODE, epoch), Content::None);
        }
        for change in diff_trees(None, &root)? {
            listing.put(&folder, change, number, epoch);
        }
        for (name, bytes) in statements(built, image, &root, split, wanted)? {
            let path = join(&folder, name.as_bytes());
            let node = TreeNode::File(bytes.len() as u64);
            listing.add(made(path, node, FILE_MODE, epoch), Content::Bytes(bytes));
        }
        listing.roots.push(root);
    }
    to.take(&listing.sorted()).map_err(Cause::io("send the files"))
}

/// The files of a result and where the content of each is.
#[derive(Default)]
struct Listing {
    entries: Vec<TreeEntry>,
    contents: Vec<Content>,
    roots: Vec<Root>,
}

enum Content {
    None,
    /// Of a file of one of the roots.
    File(usize, Vec<u8>),
    Bytes(Vec<u8>),
}

impl Listing {
    fn add(&mut self, entry: TreeEntry, content: Content) {
        self.entries.push(entry);
        self.contents.push(content);
    }

    fn put(&mut self, folder: &[u8], change: Change, root: usize, epoch: Option<i64>) {
        let ChangeKind::Put(put) = change.kind else { return };
        if change.path.is_empty() {
            return;
        }
        let content = match &put.node {
            Node::File => Content::File(root, change.path.clone()),
            _ => Content::None,
        };
        self.add(entry(folder, &change.path, *put, epoch), content);
    }

    /// One of a path, the last that was added, in the order in which a walk meets them; of a file with several names
    /// the first has the content.
    fn sorted(self) -> Listing {
        let mut both: Vec<(TreeEntry, Content)> = self.entries.into_iter().zip(self.contents).collect();
        both.reverse();
        both.sort_by(|a, b| compare(&a.0.path, &b.0.path));
        both.dedup_by(|a, b| a.0.path == b.0.path);
        let mut first: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut files: HashMap<Vec<u8>, (TreeNode, Content)> = HashMap::new();
        for (entry, content) in &mut both {
            if let TreeNode::File(_) = entry.node {
                let taken = std::mem::replace(content, Content::None);
                files.insert(entry.path.clone(), (entry.node.clone(), taken));
            }
        }
        for (entry, content) in &mut both {
            let of = match &entry.node {
                TreeNode::File(_) => entry.path.clone(),
                TreeNode::HardLink(of) => of.clone(),
                _ => continue,
            };
            match (first.get(&of), files.remove(&of)) {
                (Some(earlier), _) => entry.node = TreeNode::HardLink(earlier.clone()),
                (None, Some((node, found))) => {
                    (entry.node, *content) = (node, found);
                    first.insert(of, entry.path.clone());
                }
                (None, None) => {}
            }
        }
        let (entries, contents) = both.into_iter().unzip();
        Listing { entries, contents, roots: self.roots }
    }
}

impl Tree for Listing {
    fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    fn open(&self, index: usize) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.contents.get(index) {
            Some(Content::File(root, path)) => {
                let path = Path::new(OsStr::from_bytes(path));
                let file = self.roots[*root].open_file(path).map_err(io::Error::other)?;
                Ok(Box::new(file))
            }
            Some(Content::Bytes(bytes)) => Ok(Box::new(&bytes[..])),
            Some(Content::None) | None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

fn entry(folder: &[u8], path: &[u8], put: Metadata, epoch: Option<i64>) -> TreeEntry {
    let Metadata { node, stat, xattrs } = put;
    let node = match node {
        Node::File => TreeNode::File(stat.size),
        Node::HardLink(of) => TreeNode::HardLink(join(folder, &of)),
        Node::Directory { .. } => TreeNode::Directory,
        Node::Symlink(text) => TreeNode::Symlink(text),
        Node::Fifo => TreeNode::Fifo,
        Node::CharDevice | Node::BlockDevice => TreeNode::Special,
    };
    TreeEntry {
        path: join(folder, path),
        node,
        mode: stat.permissions(),
        uid: stat.uid,
        gid: stat.gid,
        mtime: epoch.map_or_else(|| nanoseconds(stat.mtime), of_seconds),
        xattrs,
    }
}

/// A file of the exporter's own.
fn made(path: Vec<u8>, node: TreeNode, mode: u32, epoch: Option<i64>) -> TreeEntry {
    let mtime = epoch.map_or(0, of_seconds);
    TreeEntry { path, node, mode, uid: 0, gid: 0, mtime, xattrs: Vec::new() }
}

fn of_seconds(seconds: i64) -> i64 {
    nanoseconds(Time { seconds, nanoseconds: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, node: TreeNode) -> TreeEntry {
        made(path.as_bytes().to_vec(), node, 0o644, None)
    }

    #[test]
    fn the_first_of_several_names_has_the_content() {
        let mut listing = Listing::default();
        listing.add(named("b", TreeNode::File(1)), Content::Bytes(b"x".to_vec()));
        listing.add(named("a", TreeNode::HardLink(b"b".to_vec())), Content::None);
        listing.add(named("c", TreeNode::HardLink(b"b".to_vec())), Content::None);
        let sorted = listing.sorted();
        let nodes: Vec<_> = sorted.entries().iter().map(|entry| (&entry.path[..], &entry.node)).collect();
        let link = TreeNode::HardLink(b"a".to_vec());
        assert_eq!(nodes, [(&b"a"[..], &TreeNode::File(1)), (b"b", &link), (b"c", &link)]);
        let mut text = String::new();
        sorted.open(0).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(sorted.open(1).is_err());
    }

    #[test]
    fn a_statement_replaces_a_file_of_its_name() {
        let mut listing = Listing::default();
        listing.add(named("p.json", TreeNode::File(3)), Content::Bytes(b"old".to_vec()));
        listing.add(named("p.json", TreeNode::File(5)), Content::Bytes(b"newer".to_vec()));
        assert_eq!(listing.sorted().entries()[0].node, TreeNode::File(5));
    }
}
