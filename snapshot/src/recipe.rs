//! A layer that is described and not made: what goes where, with what metadata, and where each file's bytes are.
//!
//! A [`Draft`] is changed by what [`copy`](crate::copy) and a few calls would do in a directory, and ends in the [`Recipe`] of
//! the tar that packing that directory would give. No file is copied on the way: the recipe reads each source once, where
//! it is.

mod copying;
mod item;
mod shape;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::Write;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_sys::Errno;
use kiln_sys::fs::{self, Owner, Root, Stat, Time};

use crate::apply::WHITEOUT;
use crate::checksum::Sum;
use crate::contents::Listed;
use crate::error::show;
use crate::path::{as_path, joined, split};
use crate::scan::in_order;
use crate::walk::{Place, Seen, walk};
use crate::write_tar::{Place as Packed, TarWriter, places};
use crate::{Change, Error, Metadata, Node, Result, TarOptions, TarStats};
use item::Copied;
pub(crate) use shape::blank;
use shape::directory;

pub(crate) use item::{Item, Origin};

pub use copying::Taken;
pub use shape::Shape;

/// A layer that is described.
#[derive(Debug)]
pub struct Recipe {
    pub(crate) items: Vec<Item>,
    pub(crate) copied: Vec<Copied>,
    pub(crate) roots: Vec<Root>,
    /// A tar that has the bytes of some of its files.
    pub(crate) packed: Option<File>,
}

impl Recipe {
    /// Takes files from `tar`, where that has them at the same path: of one file that is read in order thousands come sooner than
    /// from where they are. It is what another recipe with these `contents` was written to; what it has is verified as
    /// everything is, and not taken if it is something else. How many files it has.
    pub fn take_from(&mut self, tar: File, contents: &[Listed]) -> usize {
        let Some(size) = fs::fstat(tar.as_fd()).ok().map(|stat| stat.size) else { return 0 };
        let Some(places) = places(contents, size) else { return 0 };
        let (mut places, mut count) = (places.into_iter().peekable(), 0);
        for item in &mut self.items {
            let Origin::File(file) = &mut item.origin else { continue };
            while places.next_if(|place| in_order(place.path, &item.path).is_lt()).is_some() {}
            let is_same = |place: &Packed<'_>| {
                *place.path == *item.path
                    && Some(place.sum) == file.expected.as_ref()
                    && place.size == item.size
            };
            if let Some(place) = places.next_if(is_same) {
                file.packed = NonZeroU64::new(place.at);
                count += 1;
            }
        }
        self.packed = Some(tar);
        count
    }

    /// How many paths it has.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes of its files.
    pub fn size(&self) -> u64 {
        self.items.iter().map(|item| item.size).sum()
    }

    /// Writes the layer's tar. A source that is read and is not what it was when it was described is an error that names it;
    /// what was written until then must be discarded.
    pub fn write(&self, out: impl Write, options: &TarOptions) -> Result<TarStats> {
        let mut tar = TarWriter::new(out);
        tar.append_recipe(self, options)?;
        tar.finish()
    }

    /// What the layer has, in the order of its tar, each file with the SHA-256 of its bytes as far as that is known.
    pub fn contents(&self) -> impl Iterator<Item = (Change, Option<Sum>)> {
        self.items.iter().map(|item| (item.change(), item.origin.sum()))
    }
}

/// A layer in the making.
#[derive(Debug)]
pub struct Draft {
    shape: Shape,
    roots: Vec<Root>,
    copied: Vec<Copied>,
    items: Vec<Item>,
    /// Which of `items` each path has, by its hash, or by the next number where another path has that; keyed at random, so nobody
    /// can make many collide.
    at: HashMap<u64, u32>,
    hasher: RandomState,
    /// The directory that something was put in last: it and all above it are listed and have the time of now.
    entered: Option<Vec<u8>>,
    /// The time of everything that gets one here.
    now: Time,
}

impl Draft {
    /// An empty layer on a filesystem.
    pub fn on(shape: Shape) -> Draft {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: 0 };
        Draft {
            shape,
            roots: Vec::new(),
            copied: Vec::new(),
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
        Recipe { items: self.items, copied: self.copied, roots: self.roots, packed: None }
    }

    fn find(&mut self, path: &[u8]) -> Result<Place> {
        walk(path, |here| Ok(self.look(here)?.map_or(Seen::Nothing, |there| there.node.into())))
    }

    /// What has the canonical `path` as far as the recipe has got.
    fn look(&mut self, path: &[u8]) -> Result<Option<Metadata>> {
        if let Some(item) = self.item(path) {
            return Ok(Some(item.metadata()));
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
        self.set(Item::new(path, metadata, origin));
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
                self.set(Item::new(dir.to_vec(), metadata, Origin::Nowhere));
            }
            if changes {
                self.change_item(dir, |item| {
                    if !item.is_timed {
                        item.mtime = now;
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

    /// Makes room for so many paths more, and not for twice as many.
    fn reserve(&mut self, count: usize) {
        self.items.reserve_exact(count);
        self.at.reserve(count);
    }

    fn set(&mut self, item: Item) {
        match self.find_item(&item.path) {
            Ok(at) => self.items[at] = item,
            Err(free) => {
                self.at.insert(free, self.items.len() as u32);
                self.items.push(item);
            }
        }
    }

    fn item(&self, path: &[u8]) -> Option<&Item> {
        self.place(path).map(|at| &self.items[at])
    }

    /// Where in `items` a path is.
    fn place(&self, path: &[u8]) -> Option<usize> {
        self.find_item(path).ok()
    }

    /// Where in `items` a path is; if it is not there, the number that it would have in `at`.
    fn find_item(&self, path: &[u8]) -> Result<usize, u64> {
        let mut hash = self.hasher.hash_one(path);
        while let Some(&at) = self.at.get(&hash) {
            if *self.items[at as usize].path == *path {
                return Ok(at as usize);
            }
            hash = hash.wrapping_add(1);
        }
        Err(hash)
    }

    fn change_item(&mut self, path: &[u8], change: impl FnOnce(&mut Item)) {
        if let Some(at) = self.place(path) {
            change(&mut self.items[at]);
        }
    }

    /// Before the file at `path` is replaced, the first of its other names becomes the file.
    fn keep_links_to(&mut self, path: &[u8]) {
        let Some(at) = self.place(path) else { return };
        if !self.items[at].is_linked() {
            return;
        }
        let is_link = |item: &Item| matches!(item.node(), Node::HardLink(first) if first == path);
        let links: Vec<usize> = (0..self.items.len()).filter(|at| is_link(&self.items[*at])).collect();
        let Some(&heir) = links.iter().min_by(|a, b| in_order(&self.items[**a].path, &self.items[**b].path))
        else {
            return;
        };
        let new = self.items[heir].path.to_vec();
        for link in links {
            self.items[link].become_node(Node::HardLink(new.clone()));
        }
        let mut origin = self.items[at].origin.clone();
        if let Origin::File(file) = &mut origin {
            // What it is called does not tell any more what it was called where it is from.
            let (root, from) = file.place(&self.copied, path);
            file.copied = self.add_copied(root, &from);
            file.inside = u32::MAX;
        }
        self.items[heir].become_node(Node::File);
        self.items[heir].origin = origin;
    }

    /// Makes known something of a tree that is copied; its number.
    fn add_copied(&mut self, root: usize, from: &[u8]) -> u32 {
        self.copied.push(Copied { root, from: from.into() });
        self.copied.len() as u32 - 1
    }
}

fn failed(call: &'static str, path: &[u8], errno: Errno) -> Error {
    kiln_sys::Error::new(call, format!("`{}`", as_path(path).display()), errno).into()
}
