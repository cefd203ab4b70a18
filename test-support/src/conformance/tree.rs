//! A root filesystem as a value: layer tars stacked in memory, whiteouts applied.
//!
//! This reader shares nothing with the one that unpacks images, so that neither hides the other's mistakes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use kiln_oci::Digest;
use tar::{Archive, Entry, EntryType};

/// The prefix of a whiteout's name.
const WHITEOUT: &str = ".wh.";
/// The whiteout of all that lower layers have in a directory.
const OPAQUE: &str = ".wh..wh..opq";
/// The prefix of extended attributes in a PAX header.
const XATTR: &str = "SCHILY.xattr.";
/// Contents up to this many bytes are shown, longer ones named by their digest.
const SHOWN: usize = 200;

/// Files by path, without a leading slash.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Arc<Node>>);

#[derive(Debug)]
struct Node {
    kind: Kind,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
enum Kind {
    Directory,
    File(Vec<u8>),
    Link(String),
    Other(String),
}

/// What a layer does to one path.
enum Change {
    Put(Node),
    /// One more name of another path's file.
    Name(String),
}

impl Tree {
    /// Puts a layer, an uncompressed tar, on top.
    pub(super) fn apply(&mut self, layer: impl Read) -> io::Result<()> {
        let mut changes = Vec::new();
        // What is deleted is deleted from the layers below, wherever in the tar it is said.
        for entry in Archive::new(layer).entries()? {
            let mut entry = entry?;
            let path = normal(&String::from_utf8_lossy(&entry.path_bytes()));
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if name == OPAQUE {
                self.remove_below(parent);
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                self.remove(&normal(&format!("{parent}/{name}")));
            } else if !path.is_empty() {
                let change = change(&mut entry)?;
                changes.push((path, change));
            }
        }
        changes.into_iter().try_for_each(|(path, change)| self.put(path, change))
    }

    fn put(&mut self, path: String, change: Change) -> io::Result<()> {
        let node = match change {
            Change::Put(node) => Arc::new(node),
            Change::Name(target) => self.0.get(&target).cloned().ok_or_else(|| {
                io::Error::other(format!("the hard link `{path}` names `{target}`, which is not there"))
            })?,
        };
        if !matches!(node.kind, Kind::Directory) {
            self.remove_below(&path);
        }
        self.0.insert(path, node);
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        self.0.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.0.retain(|known, _| !known.starts_with(&prefix));
    }

    /// Each path with what is there in words; `time` is the only time that is worth telling.
    pub(super) fn describe(&self, time: u64) -> BTreeMap<String, String> {
        let mut first: BTreeMap<*const Node, &str> = BTreeMap::new();
        let mut described = BTreeMap::new();
        for (path, node) in &self.0 {
            let known = *first.entry(Arc::as_ptr(node)).or_insert(path);
            let text = if known == path { node.describe(time) } else { format!("same file as /{known}") };
            described.insert(format!("/{path}"), text);
        }
        described
    }
}

impl Node {
    fn describe(&self, time: u64) -> String {
        let (user, group) = self.owner;
        let mut text = match &self.kind {
            Kind::Directory => format!("directory {:o} {user}:{group}", self.mode),
            Kind::File(bytes) => format!("file {:o} {user}:{group} {}", self.mode, content(bytes)),
            // The mode of a symbolic link means nothing.
            Kind::Link(target) => format!("link {user}:{group} -> {target}"),
            Kind::Other(kind) => format!("{kind} {:o} {user}:{group}", self.mode),
        };
        // A directory's time is that of the last change in it, which others make too.
        if self.mtime == time && !matches!(self.kind, Kind::Directory) {
            text.push_str(" (time kept)");
        }
        for (name, value) in &self.xattrs {
            text.push_str(&format!(" {name}={}", content(value)));
        }
        text
    }
}

fn content(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= SHOWN => format!("{text:?}"),
        _ => format!("{} bytes {}", bytes.len(), Digest::of(bytes)),
    }
}

fn change(entry: &mut Entry<'_, impl Read>) -> io::Result<Change> {
    let mut xattrs = BTreeMap::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR)) {
            xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
        }
    }
    let target = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
    let kind = match entry.header().entry_type() {
        EntryType::Link => return Ok(Change::Name(normal(&target.unwrap_or_default()))),
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Link(target.unwrap_or_default()),
        EntryType::Regular | EntryType::Continuous => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            Kind::File(bytes)
        }
        other => Kind::Other(format!("{other:?}").to_lowercase()),
    };
    let header = entry.header();
    let owner = (header.uid()?, header.gid()?);
    Ok(Change::Put(Node { kind, mode: header.mode()? & 0o7777, owner, mtime: header.mtime()?, xattrs }))
}

/// Without `.`, double and outer slashes; layers hold no `..`.
fn normal(path: &str) -> String {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    fn layer(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_uid(1);
            header.set_gid(2);
            header.set_mtime(7);
            if matches!(kind, EntryType::Link | EntryType::Symlink) {
                header.set_size(0);
                tar.append_link(&mut header, path, text).unwrap();
            } else {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
        }
        tar.into_inner().unwrap()
    }

    fn stacked(layers: &[Vec<u8>]) -> BTreeMap<String, String> {
        let mut tree = Tree::default();
        layers.iter().for_each(|layer| tree.apply(&layer[..]).unwrap());
        tree.describe(7)
    }

    const LOWER: &[(&str, EntryType, &str)] = &[
        ("d/", EntryType::Directory, ""),
        ("d/a", EntryType::Regular, "a"),
        ("d/b", EntryType::Link, "d/a"),
        ("l", EntryType::Symlink, "d/a"),
    ];

    #[test]
    fn files_are_described() {
        let tree = stacked(&[layer(LOWER)]);
        assert_eq!(tree["/d"], "directory 644 1:2");
        assert_eq!(tree["/d/a"], "file 644 1:2 \"a\" (time kept)");
        assert_eq!(tree["/d/b"], "same file as /d/a");
        assert_eq!(tree["/l"], "link 1:2 -> d/a (time kept)");
    }

    #[test]
    fn whiteouts_hide_what_is_below_and_not_what_comes_with_them() {
        let opaque = layer(&[("d/c", EntryType::Regular, ""), ("d/.wh..wh..opq", EntryType::Regular, "")]);
        assert_eq!(stacked(&[layer(LOWER), opaque]).keys().collect::<Vec<_>>(), ["/d", "/d/c", "/l"]);
        let whiteouts = layer(&[(".wh.d", EntryType::Regular, ""), (".wh.l", EntryType::Regular, "")]);
        assert!(stacked(&[layer(LOWER), whiteouts]).is_empty());
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_hides_what_was_in_it() {
        let file = layer(&[("d", EntryType::Regular, "now a file")]);
        assert_eq!(stacked(&[layer(LOWER), file]).keys().collect::<Vec<_>>(), ["/d", "/l"]);
    }
}
