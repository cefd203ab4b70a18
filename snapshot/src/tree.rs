//! The directories of a tree that is being written, each found without trusting a path.
//!
//! A path is walked one name at a time from a directory that is already open; no call follows a link. A symbolic
//! link on the way is read and walked from the root of the tree, so it cannot lead out, whoever changes the tree
//! meanwhile. The path that was really walked is the *canonical* one: everything is remembered under it, so two
//! spellings of one place are one place.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use kiln_sys::Errno;
use kiln_sys::fs::{self, FileType, Root, Time};

use crate::Result;
use crate::path::{MAX_DEPTH, components, join, joined, name_of, split};
use crate::walk::{Place, Seen, walk};

/// How many directories are kept open.
const MAX_OPEN: usize = 256;

/// What a walk to a directory met.
pub(crate) enum Found {
    /// The directory, by its canonical path.
    Directory(Vec<u8>, Arc<OwnedFd>),
    /// Nothing has this canonical path.
    Missing {
        /// Where the walk ended.
        path: Vec<u8>,
        /// Whether that is what the walk was to find, and not a directory on the way.
        last: bool,
    },
    /// Something that is neither directory nor link has this canonical path.
    Obstacle {
        /// Where the walk ended.
        path: Vec<u8>,
        /// Whether that is what the walk was to find, and not a directory on the way.
        last: bool,
    },
}

/// An open directory.
struct Open {
    fd: Arc<OwnedFd>,
    /// Whether it and everything above it is in `touched`.
    touched: bool,
}

/// The tree and what this layer did to it.
pub(crate) struct Tree {
    root: Arc<OwnedFd>,
    open: BTreeMap<Vec<u8>, Open>,
    /// Hashes of the canonical paths that this layer wrote; keyed at random, so nobody can make two collide.
    touched: HashSet<u64>,
    hasher: RandomState,
    /// Times to set when nothing changes the directories any more.
    times: BTreeMap<Vec<u8>, Time>,
}

impl Tree {
    pub(crate) fn new(root: &Root) -> Result<Self> {
        // A root may be an `O_PATH` handle; this one can be read too.
        let root = Arc::new(fs::open_dir(root.as_fd(), ".")?);
        let hasher = RandomState::new();
        let mut tree =
            Self { root, open: BTreeMap::new(), touched: HashSet::new(), hasher, times: BTreeMap::new() };
        tree.touch(b"");
        Ok(tree)
    }

    /// Remembers that this layer wrote `path`; false if it had already.
    pub(crate) fn touch(&mut self, path: &[u8]) -> bool {
        self.touched.insert(self.hasher.hash_one(path))
    }

    /// Whether this layer wrote `path`.
    pub(crate) fn is_touched(&self, path: &[u8]) -> bool {
        self.touched.contains(&self.hasher.hash_one(path))
    }

    /// Remembers that this layer wrote something in the directory `path`.
    pub(crate) fn touch_parents(&mut self, path: &[u8]) {
        if self.open.get(path).is_some_and(|open| open.touched) {
            return;
        }
        let mut above = path;
        while self.touch(above) && !above.is_empty() {
            above = split(above).0;
        }
        if let Some(open) = self.open.get_mut(path) {
            open.touched = true;
        }
    }

    /// Whether the directory `path` is known to be there.
    pub(crate) fn is_open(&self, path: &[u8]) -> bool {
        self.open.contains_key(path)
    }

    /// Sets the times of the directory `path` at the end.
    pub(crate) fn set_time(&mut self, path: Vec<u8>, time: Time) {
        self.times.insert(path, time);
    }

    /// Walks to the directory that `path` names.
    pub(crate) fn find(&mut self, path: &[u8]) -> Result<Found> {
        if let Some(open) = self.open.get(path) {
            return Ok(Found::Directory(path.to_vec(), open.fd.clone()));
        }
        Ok(match walk(path, |here| self.look(here))? {
            Place::Directory(path) => {
                let fd = self.directory(&path)?;
                Found::Directory(path, fd)
            }
            Place::Missing(path, last) => Found::Missing { path, last },
            Place::Obstacle(path, last) => Found::Obstacle { path, last },
        })
    }

    /// What has a canonical path whose parent is a directory.
    fn look(&mut self, path: &[u8]) -> Result<Seen> {
        if self.open_canonical(path)?.is_some() {
            return Ok(Seen::Directory);
        }
        let dir = self.directory(split(path).0)?;
        match fs::statat(dir.as_fd(), name_of(path)) {
            Ok(stat) if stat.file_type() == FileType::Symlink => {
                Ok(Seen::Link(fs::readlinkat(dir.as_fd(), name_of(path))?.into_os_string().into_vec()))
            }
            Ok(_) => Ok(Seen::Other),
            Err(error) if error.is_not_found() => Ok(Seen::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// The canonical path of what is at `path`; a link there is followed or not.
    pub(crate) fn locate(&mut self, path: &[u8], follow: bool) -> Result<Option<Vec<u8>>> {
        let last = components(path).next_back();
        if follow || matches!(last, None | Some(b"..")) {
            return Ok(match self.find(path)? {
                Found::Directory(path, _) | Found::Obstacle { path, last: true } => Some(path),
                _ => None,
            });
        }
        let parents: Vec<&[u8]> = components(path).rev().skip(1).collect();
        let parent = parents.into_iter().rev().collect::<Vec<_>>().join(&b'/');
        let Found::Directory(mut place, dir) = self.find(&parent)? else { return Ok(None) };
        join(&mut place, last.unwrap_or_default());
        match fs::statat(dir.as_fd(), name_of(&place)) {
            Ok(_) => Ok(Some(place)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the canonical path is a directory.
    pub(crate) fn is_directory(&mut self, path: &[u8]) -> Result<bool> {
        Ok(self.open_canonical(path)?.is_some())
    }

    /// The directory at a canonical path that was found before.
    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>> {
        match self.open_canonical(path)? {
            Some(fd) => Ok(fd),
            None => {
                let subject = format!("`{}`", crate::error::show(path));
                Err(kiln_sys::Error::new("openat", subject, Errno::NOTDIR).into())
            }
        }
    }

    /// Opens a canonical path; `None` if there is no directory.
    fn open_canonical(&mut self, path: &[u8]) -> Result<Option<Arc<OwnedFd>>> {
        if path.is_empty() {
            return Ok(Some(self.root.clone()));
        }
        if let Some(open) = self.open.get(path) {
            return Ok(Some(open.fd.clone()));
        }
        if path.iter().filter(|&&b| b == b'/').count() >= MAX_DEPTH {
            return Err(crate::Error::TooDeep { path: crate::error::show(path), limit: MAX_DEPTH });
        }
        let Some(parent) = self.open_canonical(split(path).0)? else { return Ok(None) };
        match fs::open_dir(parent.as_fd(), name_of(path)) {
            Ok(fd) => Ok(Some(self.keep(path, fd))),
            Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a directory open; when there are too many, all others are closed.
    pub(crate) fn keep(&mut self, path: &[u8], fd: OwnedFd) -> Arc<OwnedFd> {
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        let fd = Arc::new(fd);
        self.open.insert(path.to_vec(), Open { fd: fd.clone(), touched: false });
        fd
    }

    /// Removes whatever has the canonical path.
    pub(crate) fn remove(&mut self, path: &[u8]) -> Result<()> {
        let dir = self.directory(split(path).0)?;
        self.forget(path);
        Ok(fs::remove_tree(dir.as_fd(), name_of(path))?)
    }

    /// Forgets the directory `path` and all below it.
    fn forget(&mut self, path: &[u8]) {
        forget_below(&mut self.open, path);
        forget_below(&mut self.times, path);
    }

    /// Removes what is in the directory `path` and was not written by this layer.
    pub(crate) fn clear(&mut self, path: &[u8], depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(crate::Error::TooDeep { path: crate::error::show(path), limit: MAX_DEPTH });
        }
        let dir = self.directory(path)?;
        let listing = fs::open_dir(dir.as_fd(), ".")?;
        for entry in fs::read_dir(listing.as_fd())? {
            let inner = joined(path, entry.name.as_bytes());
            if !self.is_touched(&inner) {
                self.remove(&inner)?;
            } else if fs::statat(dir.as_fd(), &entry.name)?.is_dir() {
                self.clear(&inner, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Sets the times of the directories of this layer.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for (path, time) in std::mem::take(&mut self.times) {
            // By name in its parent: most directories are not open any more, and their parents are few.
            let parent = self.directory(split(&path).0)?;
            let name = name_of(&path);
            fs::utimensat(parent.as_fd(), name, Some(time), Some(time))?;
        }
        Ok(())
    }
}

/// Forgets a path and all below it.
pub(crate) fn forget_below<V>(map: &mut BTreeMap<Vec<u8>, V>, path: &[u8]) {
    map.remove(path);
    let mut first = path.to_vec();
    first.push(b'/');
    let below: Vec<_> =
        map.range(first.clone()..).map(|(k, _)| k).take_while(|k| k.starts_with(&first)).cloned().collect();
    for key in below {
        map.remove(&key);
    }
}
