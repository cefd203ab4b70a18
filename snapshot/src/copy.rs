//! Files and trees from one root to another.

mod file;

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use kiln_sys::Errno;
use kiln_sys::fs::{self, FileType, Owner, Root, Stat, Time};
use rayon::prelude::*;

pub use crate::filter::{Filter, Verdict};

use crate::attributes::Attributes;
use crate::checksum::{Entry, Listing, Sum};
use crate::error::show;
use crate::path::{as_path, components, joined, name_of, split};
use crate::scan::{Found, Scan};
use crate::tree::{Found as Place, Tree};
use crate::xattrs::Xattrs;
use crate::{Error, Result};
use file::FileCopy;

/// Files that are copied at once, and directories that they may keep open.
const BATCH_FILES: usize = 4096;
const BATCH_DIRECTORIES: usize = 128;

pub(crate) const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// Where the owner and mode of directories come from that must be made on the way to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parents {
    /// Their mode.
    pub mode: u32,
    /// Their owner.
    pub owner: Owner,
}

/// A function from a mode (permission bits) and whether it is a directory's to the mode of the copy.
pub type ModeChange<'a> = &'a (dyn Fn(u32, bool) -> u32 + Sync);

/// How files are copied.
#[derive(Clone, Copy)]
pub struct CopyOptions<'a> {
    /// Owner of everything copied; the source's without it.
    pub owner: Option<Owner>,
    /// Changes modes; they are kept without it.
    pub mode: Option<ModeChange<'a>>,
    /// Which paths of a directory are copied; all without it.
    pub filter: Option<&'a dyn Filter>,
    /// Make missing directories above the destination.
    pub parents: Option<Parents>,
    /// Times of everything copied, in seconds; the source's without it.
    pub mtime: Option<i64>,
    /// Follow a symbolic link that the source path itself is, inside the source root.
    pub follow_source: bool,
    /// The destination's last name is the name of what is made, whatever is there: no link there is followed and no
    /// directory entered. A directory's contents go into it all the same.
    pub named: bool,
    /// Give the destination directory itself the metadata of the copied one. Without it, one that is there keeps
    /// its own, and one that is made is like the directories above it. Directories below always take the source's.
    pub merge_metadata: bool,
}

impl CopyOptions<'_> {
    /// Everything as it is, also what the destination directory is.
    pub fn exact() -> Self {
        Self {
            owner: None,
            mode: None,
            filter: None,
            parents: None,
            mtime: None,
            follow_source: false,
            named: false,
            merge_metadata: true,
        }
    }

    pub(crate) fn attributes(&self, stat: &Stat, xattrs: Xattrs) -> Attributes {
        let owner = self.owner.unwrap_or(Owner { uid: stat.uid, gid: stat.gid });
        let mode = stat.permissions();
        Attributes {
            mode: self.mode.map_or(mode, |change| change(mode, stat.is_dir())),
            uid: owner.uid,
            gid: owner.gid,
            mtime: self.mtime.map_or(stat.mtime, |seconds| Time { seconds, nanoseconds: 0 }),
            xattrs,
        }
    }
}

impl fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("CopyOptions");
        text.field("owner", &self.owner).field("mode", &self.mode.is_some());
        text.field("filter", &self.filter.is_some()).field("parents", &self.parents);
        text.field("mtime", &self.mtime).field("follow_source", &self.follow_source);
        text.field("named", &self.named).field("merge_metadata", &self.merge_metadata).finish()
    }
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, directories, links and so on.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Copies `from` beneath `source` to `to` beneath `target`.
///
/// A directory's contents go into `to`, which is made if it is missing. Anything else becomes `to`, or goes into
/// it under its own name when `to` is a directory or ends in a slash. Links in the path of `to` are followed
/// inside `target`; links met while walking are copied as links, and one that is in the way of a directory is a
/// conflict. Hard links among the copied files stay links.
pub fn copy(
    source: &Root,
    from: &Path,
    target: &Root,
    to: &Path,
    options: &CopyOptions<'_>,
) -> Result<Copied> {
    let mut source = Tree::new(source)?;
    let base = source
        .locate(from.as_os_str().as_bytes(), options.follow_source)?
        .ok_or_else(|| kiln_sys::Error::new("openat", format!("`{}`", from.display()), Errno::NOENT))?;
    let parent = source.directory(split(&base).0)?;
    let found = Scan::full(options.filter).name(parent.as_fd(), name_of(&base))?;
    let items: Vec<_> = found.iter().map(Item::from).collect();
    Copier::new(source, base, Tree::new(target)?, options).run(&items, to.as_os_str().as_bytes())
}

/// [`copy`] of what was listed and read before: that and nothing that came since. A file whose bytes are not (any more) those
/// that were read is an error that names it. Options that say what is read (`filter`, `follow_source`) mean nothing here.
pub fn copy_listed(
    source: &Root,
    listing: &Listing,
    target: &Root,
    to: &Path,
    options: &CopyOptions<'_>,
) -> Result<Copied> {
    let entries: Vec<_> = listing.entries().collect();
    let items: Vec<_> = entries.iter().map(Item::from).collect();
    let (source, target) = (Tree::new(source)?, Tree::new(target)?);
    Copier::new(source, listing.path().to_vec(), target, options).run(&items, to.as_os_str().as_bytes())
}

/// Something that is copied.
#[derive(Clone, Copy)]
struct Item<'a> {
    /// Relative to what is copied; empty for that itself.
    path: &'a [u8],
    stat: &'a Stat,
    /// Text of a symbolic link.
    link: Option<&'a [u8]>,
    xattrs: &'a Xattrs,
    /// The SHA-256 that a file's bytes must have.
    expected: Option<&'a Sum>,
}

impl<'a> From<&'a Found> for Item<'a> {
    fn from(found: &'a Found) -> Self {
        let Found { path, stat, link, xattrs, opaque: _ } = found;
        Item { path, stat, link: link.as_deref(), xattrs, expected: None }
    }
}

impl<'a> From<&'a Entry<'a>> for Item<'a> {
    fn from(entry: &'a Entry<'a>) -> Self {
        let Entry { path, stat, link, xattrs, content } = entry;
        Item { path, stat, link: *link, xattrs, expected: *content }
    }
}

struct Copier<'a> {
    source: Tree,
    target: Tree,
    /// Canonical path of what is copied.
    from: Vec<u8>,
    /// Canonical path of what it becomes.
    to: Vec<u8>,
    options: &'a CopyOptions<'a>,
    files: Vec<FileCopy>,
    /// Directories that `files` keep open.
    directories: usize,
    /// Where each source file went that has several names.
    firsts: HashMap<((u32, u32), u64), Vec<u8>>,
    /// Names to be made, and the path of the copied file that each is another name of.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    copied: Copied,
}

impl<'a> Copier<'a> {
    fn new(source: Tree, from: Vec<u8>, target: Tree, options: &'a CopyOptions<'a>) -> Self {
        Copier {
            source,
            target,
            from,
            to: Vec::new(),
            options,
            files: Vec::new(),
            directories: 0,
            firsts: HashMap::new(),
            links: Vec::new(),
            copied: Copied::default(),
        }
    }

    fn run(mut self, items: &[Item<'_>], to: &[u8]) -> Result<Copied> {
        let is_dir = items.first().is_some_and(|first| first.stat.is_dir());
        self.to = self.destination(to, is_dir)?;
        let keep_top = is_dir && !self.options.merge_metadata;
        if keep_top && !self.target.is_directory(&self.to)? {
            self.refuse_conflict(items[0].stat)?;
            let parents = Parents { mode: 0o755, owner: self.options.owner.unwrap_or(ROOT) };
            self.make_parent(&self.to.clone(), self.options.parents.unwrap_or(parents))?;
        }
        for item in &items[usize::from(keep_top)..] {
            self.entry(item)?;
        }
        self.flush()?;
        self.make_links()?;
        self.target.finish()?;
        Ok(self.copied)
    }

    /// The canonical path of what is to be made.
    fn destination(&mut self, to: &[u8], is_dir: bool) -> Result<Vec<u8>> {
        if self.options.named && !is_dir {
            return self.named_destination(to);
        }
        let in_directory = to.ends_with(b"/") && components(to).next().is_some() && !is_dir;
        loop {
            match self.target.find(to)? {
                Place::Directory(path, _) if is_dir => return Ok(path),
                Place::Directory(path, _) => return Ok(joined(&path, split(&self.from).1)),
                Place::Obstacle { path, last: true } if !in_directory => return Ok(path),
                Place::Missing { path, last: true } if !in_directory => return Ok(path),
                Place::Obstacle { path, .. } => return Err(not_a("openat", &path, Errno::NOTDIR)),
                Place::Missing { path, .. } => self.make_missing(&path)?,
            }
        }
    }

    /// The last name as it is, in the directory that the rest leads to.
    fn named_destination(&mut self, to: &[u8]) -> Result<Vec<u8>> {
        let (parent, name) = split(to);
        loop {
            match self.target.find(parent)? {
                Place::Directory(path, _) => return Ok(joined(&path, name)),
                Place::Obstacle { path, .. } => return Err(not_a("openat", &path, Errno::NOTDIR)),
                Place::Missing { path, .. } => self.make_missing(&path)?,
            }
        }
    }

    fn make_missing(&mut self, path: &[u8]) -> Result<()> {
        match self.options.parents {
            Some(parents) => self.make_parent(path, parents),
            None => Err(not_a("openat", path, Errno::NOENT)),
        }
    }

    fn make_parent(&mut self, path: &[u8], parents: Parents) -> Result<()> {
        let dir = self.target.directory(split(path).0)?;
        fs::mkdirat(dir.as_fd(), name_of(path), parents.mode & 0o777)?;
        let made = fs::open_dir(dir.as_fd(), name_of(path))?;
        fs::fchown(made.as_fd(), parents.owner).map_err(|error| Error::owner(error, parents.owner))?;
        fs::fchmod(made.as_fd(), parents.mode)?;
        if let Some(seconds) = self.options.mtime {
            self.target.set_time(path.to_vec(), Time { seconds, nanoseconds: 0 });
        }
        self.target.keep(path, made);
        Ok(())
    }

    /// A directory's contents do not go where something else is.
    fn refuse_conflict(&mut self, stat: &Stat) -> Result<()> {
        let dir = self.target.directory(split(&self.to).0)?;
        match fs::statat(dir.as_fd(), name_of(&self.to)) {
            Ok(there) => Err(conflict(stat, &self.from, &there, &self.to)),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn entry(&mut self, item: &Item<'_>) -> Result<()> {
        let to = joined(&self.to, item.path);
        let made = match item.stat.file_type() {
            FileType::Directory => self.directory(item, &to)?,
            FileType::RegularFile => self.file(item, to)?,
            FileType::Socket | FileType::Unknown => false,
            _ => self.node(item, &to)?,
        };
        self.copied.entries += u64::from(made);
        Ok(())
    }

    fn directory(&mut self, item: &Item<'_>, to: &[u8]) -> Result<bool> {
        let attributes = self.options.attributes(item.stat, item.xattrs.clone());
        if !to.is_empty() {
            let dir = self.target.directory(split(to).0)?;
            match fs::mkdirat(dir.as_fd(), name_of(to), attributes.creation_mode()) {
                Err(error) if error.is_exists() => {
                    let there = fs::statat(dir.as_fd(), name_of(to))?;
                    if !there.is_dir() {
                        return Err(conflict(item.stat, &joined(&self.from, item.path), &there, to));
                    }
                }
                other => other?,
            }
        }
        let made = self.target.directory(to)?;
        attributes.finish(made.as_fd())?;
        self.target.set_time(to.to_vec(), attributes.mtime);
        Ok(true)
    }

    fn file(&mut self, item: &Item<'_>, to: Vec<u8>) -> Result<bool> {
        let id = (item.stat.dev, item.stat.ino);
        if item.stat.nlink > 1 {
            if let Some(first) = self.firsts.get(&id) {
                self.links.push((to, first.clone()));
                return Ok(true);
            }
            self.firsts.insert(id, to.clone());
        }
        let from = joined(&self.from, item.path);
        let from_dir = self.source.directory(split(&from).0)?;
        let to_dir = self.target.directory(split(&to).0)?;
        if self.files.last().is_none_or(|last| !Arc::ptr_eq(&last.to_dir, &to_dir)) {
            self.directories += 1;
        }
        self.copied.bytes += item.stat.size;
        self.files.push(FileCopy {
            from_dir,
            from,
            to_dir,
            to,
            stat: *item.stat,
            attributes: self.options.attributes(item.stat, item.xattrs.clone()),
            expected: item.expected.copied(),
        });
        if self.files.len() >= BATCH_FILES || self.directories >= BATCH_DIRECTORIES {
            self.flush()?;
        }
        Ok(true)
    }

    /// Symbolic links, devices and FIFOs.
    fn node(&mut self, item: &Item<'_>, to: &[u8]) -> Result<bool> {
        let from = joined(&self.from, item.path);
        let dir = self.target.directory(split(to).0)?;
        file::clear_way(dir.as_fd(), to, item.stat, &from)?;
        let attributes = self.options.attributes(item.stat, item.xattrs.clone());
        match item.link {
            Some(text) => fs::symlinkat(as_path(text), dir.as_fd(), name_of(to))?,
            None if item.stat.file_type() == FileType::CharacterDevice && item.stat.rdev == (0, 0) => {
                return Err(Error::WhiteoutDevice { path: show(&from) });
            }
            None => {
                let device = fs::makedev(item.stat.rdev.0, item.stat.rdev.1);
                fs::mknodat(dir.as_fd(), name_of(to), item.stat.mode & !0o7000, device)?;
            }
        }
        attributes.finish_name(dir.as_fd(), name_of(to))?;
        Ok(true)
    }

    /// Copies the files that were collected.
    fn flush(&mut self) -> Result<()> {
        self.directories = 0;
        std::mem::take(&mut self.files).par_iter().with_min_len(8).try_for_each(FileCopy::run)
    }

    fn make_links(&mut self) -> Result<()> {
        for (path, first) in std::mem::take(&mut self.links) {
            let dir: Arc<OwnedFd> = self.target.directory(split(&path).0)?;
            let first_dir = self.target.directory(split(&first).0)?;
            let stat = fs::statat(first_dir.as_fd(), name_of(&first))?;
            file::clear_way(dir.as_fd(), &path, &stat, &first)?;
            fs::linkat(first_dir.as_fd(), name_of(&first), dir.as_fd(), name_of(&path))?;
        }
        Ok(())
    }
}

pub(crate) fn conflict(source: &Stat, from: &[u8], target: &Stat, to: &[u8]) -> Error {
    Error::CopyConflict {
        source_kind: kind(source),
        from: show(from),
        target_kind: kind(target),
        to: show(to),
    }
}

fn kind(stat: &Stat) -> &'static str {
    match stat.file_type() {
        FileType::Directory => "directory",
        FileType::RegularFile => "file",
        FileType::Symlink => "symbolic link",
        _ => "special file",
    }
}

fn not_a(call: &'static str, path: &[u8], errno: Errno) -> Error {
    kiln_sys::Error::new(call, format!("`{}`", show(path)), errno).into()
}
