//! Copies into a draft, with the outcome of [`crate::copy::copy`].

use std::collections::HashMap;

use kiln_sys::Errno;
use kiln_sys::fs::{FileType, Owner, Stat};

use super::item::{Origin, SourceFile};
use super::shape::directory;
use super::{Draft, failed};
use crate::checksum::{Entry, Identity, Listing};
use crate::copy::{CopyOptions, Parents, ROOT, conflict};
use crate::error::show;
use crate::path::{components, joined, split};
use crate::walk::Place;
use crate::{Error, Metadata, Node, Result};

/// What is copied.
#[derive(Debug)]
pub struct Taken<'a> {
    /// The tree it is in, as [`Draft::add_source`] numbered it.
    pub source: usize,
    /// Itself and what is taken of what is in it, read.
    pub listing: &'a Listing,
}

impl Draft {
    /// Copies what was taken to `to`, as [`crate::copy::copy`] does; what that reads of the source is in the entries, so
    /// options that say what is read (`filter`, `follow_source`) mean nothing here.
    pub fn copy(&mut self, taken: Taken<'_>, to: &[u8], options: &CopyOptions<'_>) -> Result<()> {
        let Taken { source, listing } = taken;
        let (path, is_dir) = (listing.path(), listing.is_dir());
        let to = self.destination(path, to, is_dir, options)?;
        let keep_top = is_dir && !options.merge_metadata;
        if keep_top {
            self.make_top(listing, &to, options)?;
        }
        let copied = self.add_copied(source, path);
        self.reserve(listing.stats().count());
        let mut copying = Copying { draft: self, copied, from: path, to, options, firsts: HashMap::new() };
        listing.entries().skip(usize::from(keep_top)).try_for_each(|entry| copying.entry(&entry))
    }

    /// The canonical path of what is to be made.
    fn destination(
        &mut self,
        from: &[u8],
        to: &[u8],
        is_dir: bool,
        options: &CopyOptions<'_>,
    ) -> Result<Vec<u8>> {
        if options.named && !is_dir {
            let (parent, name) = split(to);
            return Ok(joined(&self.found_or_made(parent, options)?, name));
        }
        let in_directory = to.ends_with(b"/") && components(to).next().is_some() && !is_dir;
        loop {
            match self.find(to)? {
                Place::Directory(path) if is_dir => return Ok(path),
                Place::Directory(path) => return Ok(joined(&path, split(from).1)),
                Place::Obstacle(path, true) | Place::Missing(path, true) if !in_directory => return Ok(path),
                Place::Obstacle(path, _) => return Err(failed("openat", &path, Errno::NOTDIR)),
                Place::Missing(path, _) => self.make_missing(path, options)?,
            }
        }
    }

    fn found_or_made(&mut self, path: &[u8], options: &CopyOptions<'_>) -> Result<Vec<u8>> {
        loop {
            match self.find(path)? {
                Place::Directory(place) => return Ok(place),
                Place::Obstacle(place, _) => return Err(failed("openat", &place, Errno::NOTDIR)),
                Place::Missing(place, _) => self.make_missing(place, options)?,
            }
        }
    }

    fn make_missing(&mut self, path: Vec<u8>, options: &CopyOptions<'_>) -> Result<()> {
        match options.parents {
            Some(parents) => self.make_parent(path, parents, options),
            None => Err(failed("openat", &path, Errno::NOENT)),
        }
    }

    fn make_parent(&mut self, path: Vec<u8>, parents: Parents, options: &CopyOptions<'_>) -> Result<()> {
        let Owner { uid, gid } = parents.owner;
        let mut made = directory(parents.mode, (uid, gid), self.now);
        if let Some(seconds) = options.mtime {
            made.stat.mtime.seconds = seconds;
        }
        self.put_new_directory(path, made, options.mtime.is_some())
    }

    /// Makes the directory whose contents are copied; one that is there keeps its metadata.
    fn make_top(&mut self, listing: &Listing, to: &[u8], options: &CopyOptions<'_>) -> Result<()> {
        let there = self.look(to)?;
        match (there, listing.stats().next()) {
            (Some(there), _) if there.stat.is_dir() => Ok(()),
            (Some(there), Some(top)) => Err(conflict(top, listing.path(), &there.stat, to)),
            _ => {
                let parents = Parents { mode: 0o755, owner: options.owner.unwrap_or(ROOT) };
                self.make_parent(to.to_vec(), options.parents.unwrap_or(parents), options)
            }
        }
    }
}

/// One copy under way.
struct Copying<'a> {
    draft: &'a mut Draft,
    copied: u32,
    from: &'a [u8],
    to: Vec<u8>,
    options: &'a CopyOptions<'a>,
    /// Where each source file went that has several names.
    firsts: HashMap<((u32, u32), u64), Vec<u8>>,
}

impl Copying<'_> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        let to = joined(&self.to, &entry.path);
        match entry.stat.file_type() {
            FileType::Directory => self.directory(to, entry),
            FileType::RegularFile => self.file(to, entry),
            FileType::Socket | FileType::Unknown => Ok(()),
            _ => self.node(to, entry),
        }
    }

    fn directory(&mut self, to: Vec<u8>, entry: &Entry<'_>) -> Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        let there = self.draft.look(&to)?;
        if let Some(there) = there.as_ref().filter(|there| !there.stat.is_dir()) {
            return Err(conflict(entry.stat, &joined(self.from, &entry.path), &there.stat, &to));
        }
        let metadata = self.metadata(Node::Directory { opaque: false }, entry);
        if there.is_none() {
            return self.draft.put_new_directory(to, metadata, true);
        }
        // Only its metadata changes: the directory that it is in stays as it is.
        self.draft.enter(&to, false)?;
        self.draft.change_item(&to, |item| {
            item.set(metadata);
            item.is_timed = true;
        });
        Ok(())
    }

    fn file(&mut self, to: Vec<u8>, entry: &Entry<'_>) -> Result<()> {
        self.clear_way(&to, entry)?;
        let seen = entry.stat;
        if seen.nlink > 1 {
            if let Some(first) = self.firsts.get(&(seen.dev, seen.ino)) {
                let metadata = self.metadata(Node::HardLink(first.clone()), entry);
                return self.draft.put(to, metadata, Origin::Nowhere);
            }
            self.firsts.insert((seen.dev, seen.ino), to.clone());
        }
        let metadata = self.metadata(Node::File, entry);
        let origin = Origin::File(SourceFile {
            copied: self.copied,
            // A path has at most a few thousand bytes.
            inside: (to.len() - entry.path.len()) as u32,
            seen: Identity::of(seen),
            expected: entry.content.copied(),
            packed: None,
        });
        self.draft.put(to, metadata, origin)
    }

    /// Symbolic links, devices and FIFOs.
    fn node(&mut self, to: Vec<u8>, entry: &Entry<'_>) -> Result<()> {
        self.clear_way(&to, entry)?;
        let node = match (entry.link, entry.stat.file_type()) {
            (Some(text), _) => Node::Symlink(text.to_vec()),
            (None, FileType::CharacterDevice) if entry.stat.rdev == (0, 0) => {
                return Err(Error::WhiteoutDevice { path: show(&joined(self.from, &entry.path)) });
            }
            (None, FileType::CharacterDevice) => Node::CharDevice,
            (None, FileType::BlockDevice) => Node::BlockDevice,
            (None, _) => Node::Fifo,
        };
        let metadata = self.metadata(node, entry);
        self.draft.put(to, metadata, Origin::Nowhere)
    }

    /// What is there is replaced, unless it is a directory.
    fn clear_way(&mut self, to: &[u8], entry: &Entry<'_>) -> Result<()> {
        match self.draft.look(to)? {
            Some(there) if there.stat.is_dir() => {
                Err(conflict(entry.stat, &joined(self.from, &entry.path), &there.stat, to))
            }
            _ => Ok(()),
        }
    }

    fn metadata(&self, node: Node, entry: &Entry<'_>) -> Metadata {
        const TYPE: u32 = 0o170_000;
        let seen = entry.stat;
        let attributes = self.options.attributes(seen, entry.xattrs.clone());
        // The permissions of a link are nobody's to change.
        let permissions = if seen.is_symlink() { seen.permissions() } else { attributes.mode & 0o7777 };
        let stat = Stat {
            mode: seen.mode & TYPE | permissions,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime,
            ..*seen
        };
        Metadata { node, stat, xattrs: attributes.xattrs }
    }
}
