//! A layer that is described and not made: what goes where, with what metadata, and where each file's bytes are.
//!
//! A [`Draft`] is changed by what [`copy`](crate::copy) and a few calls would do in a directory, and ends in the [`Recipe`] of
//! the tar that packing that directory would give. No file is copied on the way: the recipe reads each source once, where
//! it is.

mod copying;
mod shape;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_sys::Errno;
use kiln_sys::fs::{Owner, Root, Stat, Time};
use sha2::{Digest as _, Sha256};

use crate::apply::WHITEOUT;
use crate::checksum::{Identity, Sum};
use crate::error::show;
use crate::path::{as_path, joined, split};
use crate::scan::in_order;
use crate::walk::{Place, Seen, walk};
use crate::write_tar::TarWriter;
use crate::{Change, ChangeKind, Error, Metadata, Node, Result, TarOptions, TarStats};
pub(crate) use shape::blank;
use shape::directory;

pub use copying::Taken;
pub use shape::Shape;

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
    /// Which of the recipe's trees it is in.
    pub(crate) root: usize,
    /// The path there of what was copied, and where in the path of what it became the part of this file begins.
    pub(crate) from: Arc<[u8]>,
    pub(crate) inside: usize,
    /// What was seen of it.
    pub(crate) seen: Identity,
    /// The SHA-256 that its bytes must have.
    pub(crate) expected: Option<Sum>,
}

/// A layer that is described.
#[derive(Debug)]
pub struct Recipe {
    changes: Vec<Change>,
    /// Where the bytes of each change are.
    origins: Vec<Origin>,
    roots: Vec<Root>,
}

impl Recipe {
    /// Writes the layer's tar. A source that is not what it was when it was described is an error that names it; what was
    /// written until then must be discarded.
    pub fn write(&self, out: impl Write, options: &TarOptions) -> Result<TarStats> {
        let mut tar = TarWriter::new(out);
        tar.append_recipe(&self.changes, &self.origins, &self.roots, options)?;
        tar.finish()
    }

    /// What the layer has, in the order of its tar, each file with the SHA-256 of its bytes as far as that is known.
    pub fn contents(&self) -> impl Iterator<Item = (&Change, Option<Sum>)> {
        self.changes.iter().zip(self.origins.iter().map(Origin::sum))
    }
}

impl Origin {
    fn sum(&self) -> Option<Sum> {
        match self {
            Origin::Nowhere => None,
            Origin::Bytes(bytes) => Some(Sha256::digest(bytes).into()),
            Origin::File(file) => file.expected,
        }
    }
}

impl SourceFile {
    /// Its path in its tree, when it becomes the file at `place`.
    pub(crate) fn path(&self, place: &[u8]) -> Vec<u8> {
        joined(&self.from, place.get(self.inside..).unwrap_or_default())
    }
}

/// A layer in the making.
#[derive(Debug)]
pub struct Draft {
    shape: Shape,
    roots: Vec<Root>,
    items: Vec<Item>,
    /// Which of `items` each path has, by its hash; keyed at random, so nobody can make two collide.
    at: HashMap<u64, u32>,
    hasher: RandomState,
    /// The directory that something was put in last: it and all above it are listed and have the time of now.
    entered: Option<Vec<u8>>,
    /// The time of everything that gets one here.
    now: Time,
}

/// What the layer has at one path.
#[derive(Debug)]
struct Item {
    path: Vec<u8>,
    metadata: Box<Metadata>,
    origin: Origin,
    /// Of a directory: nothing of lower layers is in it.
    is_new: bool,
    /// Of a directory: its time stays as it is, whatever is put in it.
    is_timed: bool,
}

impl Draft {
    /// An empty layer on a filesystem.
    pub fn on(shape: Shape) -> Draft {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: 0 };
        Draft {
            shape,
            roots: Vec::new(),
            items: Vec::new(),
            at: HashMap::new(),
            hasher: RandomState::new(),
            entered: None,
            now,
        }
    }

    /// Makes known a tree that files come from; its number is for [`Draft::copy`].
    pub fn add_source(&mut self, root: &Root) -> Result<usize> {
        self.roots.push(root.try_clone()?);
        Ok(self.roots.len() - 1)
    }

    /// Whether `path` leads to a directory, links followed.
    pub fn is_dir(&mut self, path: &[u8]) -> Result<bool> {
        Ok(matches!(self.find(path)?, Place::Directory(_)))
    }

    /// Whether the way of `path` leads through, or to, something that is not in a snapshot, so that it cannot be read there.
    pub fn is_described(&mut self, path: &[u8]) -> Result<bool> {
        let mut is_above = false;
        let place = walk(path, |here| {
            let there = self.look(here)?;
            // Directories on the way are the same to who walks.
            let is_dir = there.as_ref().is_some_and(|there| there.stat.is_dir());
            is_above |= !is_dir && self.is_above(here);
            Ok(there.map_or(Seen::Nothing, |there| there.node.into()))
        })?;
        Ok(match place {
            Place::Directory(path) => is_above || self.is_above(&path),
            Place::Missing(..) | Place::Obstacle(..) => is_above,
        })
    }

    /// Whether what has the canonical `path` is not a snapshot's.
    fn is_above(&self, path: &[u8]) -> bool {
        self.item(path).is_some() || self.shape.is_above(path)
    }

    /// Puts a file with these bytes, in the place of what is there and no directory. Missing directories above it are made
    /// as [`Draft::make_directories`] makes them, with mode 0755 and root as owner.
    pub fn make_file(&mut self, path: &[u8], data: &[u8], mode: u32, owner: Owner) -> Result<()> {
        const S_IFREG: u32 = 0o100_000;
        let (parent, name) = split(path);
        if name.is_empty() || name == b".." {
            return Err(failed("openat", path, Errno::ISDIR));
        }
        let place = joined(&self.make_directories(parent, 0o755, Owner { uid: 0, gid: 0 })?, name);
        if self.look(&place)?.is_some_and(|there| there.stat.is_dir()) {
            return Err(failed("unlinkat", &place, Errno::ISDIR));
        }
        let stat = blank(S_IFREG | mode & 0o7777, (owner.uid, owner.gid), self.now);
        let stat = Stat { size: data.len() as u64, ..stat };
        let metadata = Metadata { node: Node::File, stat, xattrs: Vec::new() };
        self.put(place, metadata, Origin::Bytes(data.to_vec()))
    }

    /// Makes a directory whose parent is there; one that is there stays as it is.
    pub fn make_directory(&mut self, path: &[u8], mode: u32, owner: Owner) -> Result<()> {
        let (parent, name) = split(path);
        let parent = match self.find(parent)? {
            Place::Directory(parent) => parent,
            Place::Missing(place, _) => return Err(failed("openat", &place, Errno::NOENT)),
            Place::Obstacle(place, _) => return Err(failed("openat", &place, Errno::NOTDIR)),
        };
        let place = joined(&parent, name);
        if name == b".." || self.look(&place)?.is_some() {
            return Ok(());
        }
        self.put_new_directory(place, directory(mode, (owner.uid, owner.gid), self.now), false)
    }

    /// Makes a directory and those missing above it, with this mode and owner; the canonical path. Links are followed, also
    /// dangling ones.
    pub fn make_directories(&mut self, path: &[u8], mode: u32, owner: Owner) -> Result<Vec<u8>> {
        loop {
            match self.find(path)? {
                Place::Directory(place) => return Ok(place),
                Place::Obstacle(place, _) => return Err(failed("openat", &place, Errno::NOTDIR)),
                Place::Missing(place, _) => {
                    let made = directory(mode, (owner.uid, owner.gid), self.now);
                    self.put_new_directory(place, made, false)?;
                }
            }
        }
    }

    /// The layer as it is to be packed.
    pub fn finish(mut self) -> Recipe {
        self.items.sort_unstable_by(|a, b| in_order(&a.path, &b.path));
        let (changes, origins) = self.items.into_iter().map(Item::into_parts).unzip();
        Recipe { changes, origins, roots: self.roots }
    }

    fn find(&mut self, path: &[u8]) -> Result<Place> {
        walk(path, |here| Ok(self.look(here)?.map_or(Seen::Nothing, |there| there.node.into())))
    }

    /// What has the canonical `path` as far as the recipe has got.
    fn look(&mut self, path: &[u8]) -> Result<Option<Metadata>> {
        if let Some(item) = self.item(path) {
            return Ok(Some(Metadata::clone(&item.metadata)));
        }
        if self.is_in_new(path) { Ok(None) } else { self.shape.look(path) }
    }

    /// Whether the path is in a directory that this recipe makes, so that no lower layer has it.
    fn is_in_new(&self, path: &[u8]) -> bool {
        let mut above = path;
        while !above.is_empty() {
            above = split(above).0;
            if let Some(item) = self.item(above) {
                return item.is_new;
            }
        }
        false
    }

    fn put_new_directory(&mut self, path: Vec<u8>, metadata: Metadata, is_timed: bool) -> Result<()> {
        self.put(path.clone(), metadata, Origin::Nowhere)?;
        self.change_item(&path, |item| (item.is_new, item.is_timed) = (true, is_timed));
        Ok(())
    }

    /// Puts something at a canonical path whose parent is a directory.
    fn put(&mut self, path: Vec<u8>, metadata: Metadata, origin: Origin) -> Result<()> {
        if split(&path).1.starts_with(WHITEOUT) {
            return Err(Error::WhiteoutName { path: show(&path) });
        }
        let dir = split(&path).0;
        if self.entered.as_deref() != Some(dir) {
            self.enter(dir, true)?;
            self.entered = Some(dir.to_vec());
        }
        self.keep_links_to(&path);
        let metadata = Box::new(metadata);
        self.set(Item { path, metadata, origin, is_new: false, is_timed: false });
        Ok(())
    }

    /// Lists a directory that something is put in, and those above it: a layer has what is above its files, as they are, but
    /// for the time of the one that changes.
    fn enter(&mut self, dir: &[u8], changes: bool) -> Result<()> {
        let (now, mut dir, mut changes) = (self.now, dir, changes);
        while !dir.is_empty() {
            let is_listed = self.item(dir).is_some();
            if !is_listed {
                let there = self.shape.look(dir)?.filter(|there| there.stat.is_dir());
                let mut metadata = there.ok_or_else(|| failed("openat", dir, Errno::NOTDIR))?;
                metadata.node = Node::Directory { opaque: false };
                let (metadata, origin) = (Box::new(metadata), Origin::Nowhere);
                self.set(Item { path: dir.to_vec(), metadata, origin, is_new: false, is_timed: false });
            }
            if changes {
                self.change_item(dir, |item| {
                    if !item.is_timed {
                        item.metadata.stat.mtime = now;
                    }
                });
            }
            if is_listed {
                return Ok(());
            }
            (dir, changes) = (split(dir).0, false);
        }
        Ok(())
    }

    fn set(&mut self, item: Item) {
        let hash = self.hasher.hash_one(&item.path);
        match self.at.get(&hash) {
            Some(at) => self.items[*at as usize] = item,
            None => {
                self.at.insert(hash, self.items.len() as u32);
                self.items.push(item);
            }
        }
    }

    fn item(&self, path: &[u8]) -> Option<&Item> {
        self.place(path).map(|at| &self.items[at])
    }

    /// Where in `items` a path is.
    fn place(&self, path: &[u8]) -> Option<usize> {
        self.at.get(&self.hasher.hash_one(path)).map(|at| *at as usize)
    }

    fn change_item(&mut self, path: &[u8], change: impl FnOnce(&mut Item)) {
        if let Some(at) = self.place(path) {
            change(&mut self.items[at]);
        }
    }

    /// Before the file at `path` is replaced, the first of its other names becomes the file.
    fn keep_links_to(&mut self, path: &[u8]) {
        let Some(at) = self.place(path) else { return };
        if self.items[at].metadata.stat.nlink < 2 || self.items[at].metadata.node != Node::File {
            return;
        }
        let is_link = |item: &Item| matches!(&item.metadata.node, Node::HardLink(first) if first == path);
        let links: Vec<usize> = (0..self.items.len()).filter(|at| is_link(&self.items[*at])).collect();
        let Some(&heir) = links.iter().min_by(|a, b| in_order(&self.items[**a].path, &self.items[**b].path))
        else {
            return;
        };
        let new = self.items[heir].path.clone();
        for link in links {
            self.items[link].metadata.node = Node::HardLink(new.clone());
        }
        let mut origin = self.items[at].origin.clone();
        if let Origin::File(file) = &mut origin {
            // It is known by where it becomes another file now.
            (file.from, file.inside) = (file.path(path).into(), new.len());
        }
        self.items[heir].metadata.node = Node::File;
        self.items[heir].origin = origin;
    }
}

impl Item {
    fn into_parts(self) -> (Change, Origin) {
        (Change { path: self.path, kind: ChangeKind::Put(self.metadata) }, self.origin)
    }
}

fn failed(call: &'static str, path: &[u8], errno: Errno) -> Error {
    kiln_sys::Error::new(call, format!("`{}`", as_path(path).display()), errno).into()
}
