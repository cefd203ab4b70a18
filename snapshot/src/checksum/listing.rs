//! What is selected of a tree: first as the kernel tells it, then with what was read of it.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kiln_oci::Digest;
use kiln_sys::fs::{Root, Stat, Time};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{ChecksumOptions, Sum, add, content, sum};
use crate::error::show;
use crate::path::{as_path, joined, name_of, split};
use crate::scan::{At, Details, Levels, Read, Scan, Stamping};
use crate::tree::Tree;
use crate::xattrs::Xattrs;
use crate::{Error, Result};

/// Selected paths with their metadata, and what is in them once it was read.
#[derive(Debug)]
pub struct Listing {
    /// The canonical path of what was listed.
    path: Vec<u8>,
    levels: Levels,
    /// Of all that was read.
    digest: Option<Digest>,
}

/// Metadata of many files in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// SHA-256 of all paths and of all that the kernel notes of each. While it is the same, so is what is in the files
    /// and their attributes, unless something changed so shortly after `newest` that the times do not tell.
    pub digest: Sum,
    /// When anything of them changed last.
    pub newest: Time,
}

/// One selected path.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Relative to what was listed; empty for that itself.
    pub path: Vec<u8>,
    /// Its metadata.
    pub stat: &'a Stat,
    /// Of a symbolic link: its text.
    pub link: Option<&'a [u8]>,
    /// Its extended attributes that belong into a layer.
    pub xattrs: &'a Xattrs,
    /// Of a file: the SHA-256 of its content. Of a symbolic link: that of its text.
    pub content: Option<&'a Sum>,
}

impl Listing {
    /// Lists `path` beneath `root` (a link there is followed inside the root, or is itself what counts) and what is selected
    /// below it. `None` when there is no such path.
    pub fn of(root: &Root, path: &Path, options: &ChecksumOptions<'_>) -> Result<Option<Listing>> {
        let mut tree = Tree::new(root)?;
        let Some(path) = tree.locate(path.as_os_str().as_bytes(), !options.as_link)? else { return Ok(None) };
        let parent = tree.directory(split(&path).0)?;
        let levels = Scan::stamped(options.filter).named(parent.as_fd(), name_of(&path))?;
        Ok(Some(Listing { path, levels, digest: None }))
    }

    /// The canonical path of what was listed.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// All of it in short.
    pub fn stamp(&self) -> Stamp {
        let mut all = Stamping::new();
        self.levels.stamp(&mut all);
        let (digest, newest) = all.finish();
        Stamp { digest, newest }
    }

    /// Reads what is in the files, links and attributes, if that was not done before: one digest of everything. A file that is
    /// not what was listed is an error that names it.
    pub fn read(&mut self, root: &Root, options: &ChecksumOptions<'_>) -> Result<Digest> {
        if let Some(digest) = &self.digest {
            return Ok(digest.clone());
        }
        let base = &self.path;
        self.levels.directories_mut().into_par_iter().try_for_each(|directory| {
            // What was listed is in the directory above it; everything else is beneath it.
            let is_top = directory.is_top();
            let inside = joined(base, directory.path());
            let parent = if is_top { split(base).0 } else { &inside };
            let dir = root.open_dir(as_path(parent)).map_err(changed(parent))?;
            directory.read(|name, stat| {
                let name = if is_top { split(base).1 } else { name };
                read(dir.as_fd(), parent, name, stat, options)
            })
        })?;
        let mut all = Sha256::new();
        let mut path = Vec::new();
        for at in self.levels.iter() {
            at.path_into(&mut path);
            add(&mut all, &path);
            all.update(at.sum().unwrap_or(&Sum::default()));
        }
        self.levels.forget_sums();
        let digest = Digest::from_sha256(&all.finalize().into());
        self.digest = Some(digest.clone());
        Ok(digest)
    }

    /// What was listed: names in byte order, a directory directly before what is in it.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.levels.iter().map(Entry::of)
    }

    /// Whether it is one directory and what is in it.
    pub fn is_dir(&self) -> bool {
        self.levels.iter().next().is_some_and(|at| at.stat().is_dir())
    }

    /// The metadata of everything, in the same order.
    pub fn stats(&self) -> impl Iterator<Item = &Stat> {
        self.levels.iter().map(|at| at.stat())
    }
}

impl<'a> Entry<'a> {
    fn of(at: At<'a>) -> Entry<'a> {
        const NONE: &Xattrs = &Xattrs::new();
        let details = at.details();
        Entry {
            path: at.path(),
            stat: at.stat(),
            link: details.and_then(|details| details.link.as_deref()),
            xattrs: details.map_or(NONE, |details| &details.xattrs),
            content: at.content(),
        }
    }
}

/// Reads what has this name in the directory `dir`, whose path is `parent`.
fn read(
    dir: BorrowedFd<'_>,
    parent: &[u8],
    name: &[u8],
    stat: &Stat,
    options: &ChecksumOptions<'_>,
) -> Result<Read> {
    let path = joined(parent, name);
    let details = Details::read(dir, as_path(name), stat).map_err(|error| match error {
        Error::Sys(error) => changed(&path)(error),
        other => other,
    })?;
    let content = match &details.link {
        Some(text) => Some(Sha256::digest(text).into()),
        None if stat.is_file() => Some(content(dir, &path, stat, options.memo)?),
        None => None,
    };
    let sum = sum(stat, content.as_ref(), &details.xattrs, options.owner);
    Ok((details, content, sum))
}

/// What was seen a moment ago and is not there changed.
fn changed(path: &[u8]) -> impl FnOnce(kiln_sys::Error) -> Error {
    move |error| if error.is_not_found() { Error::Changed { path: show(path) } } else { error.into() }
}
