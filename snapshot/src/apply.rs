//! A layer tar to a directory, confined to it and to what this layer may change.

mod listing;
pub(crate) mod name;

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use kiln_sys::Errno;
use kiln_sys::fs::{self, Owner, Root};
use kiln_sys::user_namespace::is_confined;

use crate::attributes::Attributes;
use crate::error::show;
use crate::path::{as_path, components, join, joined, name_of, split};
use crate::read_tar::{EntryKind, Header, Input, Slice, TarReader, pieces_of};
use crate::tree::{Found, Tree};
use crate::writers::{NewFile, Writers};
use crate::{Change, Error, Result};
use listing::Listing;
use name::{Meaning, clean, meaning};

pub use crate::read_tar::Piece;
pub(crate) use name::{OPAQUE, WHITEOUT};

/// Hard links that wait for the files they name.
const MAX_LINKS_WAITING: usize = 1024;
/// The bits of a mode that give whoever executes a file its owner's rights, or its group's.
const SET_IDS: u32 = 0o6000;
/// What is read at once of a tar that is not in memory.
const PIECE: usize = 256 << 10;

/// How a layer is unpacked.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// Nothing is beneath the root yet: whiteouts have nothing to delete.
    pub fresh: bool,
    /// Threads that write files while the tar is read; 0 writes them in the calling thread.
    pub writers: usize,
    /// Make device nodes; in a user namespace they are left out, for nobody can make them there.
    pub devices: bool,
    /// Owner of everything in the tar; without it, who the tar says.
    pub owner: Option<Owner>,
    /// Whether names that begin with `.wh.` delete, as in a layer. In other archives they are refused: the file could
    /// not be in a layer.
    pub whiteouts: bool,
    /// The directory that gets the files, from the root; links on the way to it, and in it, lead no further than the root. It
    /// must be there, and keeps its own mode, owner and time. Empty is the root.
    pub beneath: Vec<u8>,
    /// Refuse to put a directory where something else is, and something else where a directory is.
    pub keep_kinds: bool,
    /// Take the set-user-id and set-group-id bits off what gets another owner than the tar says.
    pub drop_set_ids: bool,
    /// Files that are the same elsewhere on this file system, and become other names of those.
    pub same: Option<Arc<Same>>,
    /// Whether to list what is unpacked.
    pub list: bool,
}

/// A tree that nobody writes to, and the files in it that have the same bytes and metadata as those of the tar with the same
/// path.
#[derive(Debug)]
pub struct Same {
    /// The tree.
    pub root: Root,
    /// The paths of the files.
    pub paths: HashSet<Vec<u8>>,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            fresh: false,
            writers: 2,
            devices: true,
            owner: None,
            whiteouts: true,
            beneath: Vec::new(),
            keep_kinds: false,
            drop_set_ids: false,
            same: None,
            list: false,
        }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries of the tar, whiteouts included.
    pub entries: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// Files that became other names of files elsewhere.
    pub linked: u64,
    /// The layer's table of contents in the order of the tar, where it was asked for and the layer has one: not where it
    /// deletes again what it put, for example.
    pub contents: Option<Vec<Change>>,
}

/// Unpacks the layer `tar` beneath `root` and reads it to its end.
///
/// The root is an empty directory (`fresh`), or a mounted overlay or a populated directory: there whiteouts really
/// delete, and an overlay's kernel keeps the record. Later entries of the same path win. Nothing outside the root
/// is touched whatever the tar says; an entry that tries to is an error, as is a malformed tar or one beyond the
/// limits. On an error the tree is left as it is then: it must be discarded.
pub fn apply(tar: impl Read, root: &Root, options: &ApplyOptions) -> Result<Applied> {
    apply_pieces(pieces_of(tar, PIECE), root, options)
}

/// [`apply`] for a tar that is in memory already, or comes there in pieces, which `next` gives until there are none: what
/// is in them is not copied on its way to the kernel.
pub fn apply_pieces(
    next: impl FnMut() -> io::Result<Option<Piece>>,
    root: &Root,
    options: &ApplyOptions,
) -> Result<Applied> {
    let mut unpack = Unpack {
        tree: Tree::new(root)?,
        writers: Writers::new(options.writers),
        links: Vec::new(),
        same_dir: None,
        applied: Applied::default(),
        listing: Listing::new(options.list),
        options,
        beneath: Vec::new(),
    };
    unpack.enter()?;
    let mut reader = TarReader::new(Input::new(next));
    while let Some(header) = reader.next()? {
        let path = header.path.clone();
        unpack.entry(header, &mut reader).map_err(|error| in_entry(error, reader.entry(), &path))?;
    }
    unpack.finish()
}

/// Names the entry in the error of a call.
fn in_entry(error: Error, entry: u64, path: &[u8]) -> Error {
    match error {
        Error::Sys(error) => Error::Entry { entry, path: show(path), reason: error.to_string() },
        other => other,
    }
}

/// A hard link to be made: canonical path of the link, clean path of what it names, and whether it may replace something.
struct Link {
    path: Vec<u8>,
    target: Vec<u8>,
    replaces: bool,
}

struct Unpack<'a> {
    tree: Tree,
    writers: Writers,
    links: Vec<Link>,
    /// The directory of the last file that is the same elsewhere, and its path.
    same_dir: Option<(Vec<u8>, Arc<OwnedFd>)>,
    applied: Applied,
    listing: Listing,
    options: &'a ApplyOptions,
    /// Where the files go, without links.
    beneath: Vec<u8>,
}

impl Unpack<'_> {
    /// Finds the directory that gets the files.
    fn enter(&mut self) -> Result<()> {
        match self.tree.find(&self.options.beneath)? {
            Found::Directory(path, _) => {
                self.beneath = path;
                Ok(())
            }
            Found::Missing { .. } | Found::Obstacle { .. } => {
                let subject = format!("`{}`", show(&self.options.beneath));
                Err(kiln_sys::Error::new("openat", subject, Errno::NOTDIR).into())
            }
        }
    }

    fn entry<R: FnMut() -> io::Result<Option<Piece>>>(
        &mut self,
        header: Header,
        tar: &mut TarReader<R>,
    ) -> Result<()> {
        self.applied.entries += 1;
        if !self.options.whiteouts && components(&header.path).any(|part| part.starts_with(WHITEOUT)) {
            return Err(tar.bad(&header.path, "names that start with `.wh.` mean deletions"));
        }
        match meaning(&header.path, header.kind).map_err(|reason| tar.bad(&header.path, reason))? {
            Meaning::Skip => Ok(()),
            Meaning::Root if !self.options.beneath.is_empty() => Ok(()),
            Meaning::Root if header.kind == EntryKind::Directory => self.root(header),
            Meaning::Root => Err(tar.bad(&header.path, "the root must be a directory")),
            Meaning::Delete(path) => self.delete(&path),
            Meaning::Opaque(path) => self.opaque(&path),
            Meaning::Put(path) => self.put(&path, header, tar),
        }
    }

    fn finish(mut self) -> Result<Applied> {
        self.settle()?;
        self.tree.finish()?;
        Ok(Applied { linked: self.writers.linked(), contents: self.listing.finish(), ..self.applied })
    }

    fn root(&mut self, header: Header) -> Result<()> {
        let dir = self.tree.directory(b"")?;
        let attributes = self.attributes(header);
        attributes.finish(dir.as_fd())?;
        self.tree.set_time(Vec::new(), attributes.mtime);
        Ok(())
    }

    /// A whiteout hides what lower layers have, and not what its own layer has.
    fn delete(&mut self, path: &[u8]) -> Result<()> {
        if self.options.fresh {
            return Ok(());
        }
        let (parent, name) = split(path);
        let Found::Directory(mut place, dir) = self.find(parent)? else { return Ok(()) };
        join(&mut place, name);
        if !self.tree.is_touched(&place) {
            self.listing.deleted(&place);
            return self.tree.remove(&place);
        }
        self.listing.unknown();
        self.settle()?;
        match fs::statat(dir.as_fd(), as_path(name)) {
            Ok(stat) if stat.is_dir() => self.tree.clear(&place, 0),
            _ => Ok(()),
        }
    }

    fn opaque(&mut self, path: &[u8]) -> Result<()> {
        if self.options.fresh {
            return Ok(());
        }
        self.settle()?;
        match self.find(path)? {
            Found::Directory(place, _) => {
                self.listing.opaque(&place);
                self.tree.clear(&place, 0)
            }
            Found::Missing { .. } | Found::Obstacle { .. } => Ok(()),
        }
    }

    fn put<R: FnMut() -> io::Result<Option<Piece>>>(
        &mut self,
        path: &[u8],
        header: Header,
        tar: &mut TarReader<R>,
    ) -> Result<()> {
        let (parent, name) = split(path);
        let (mut place, dir) = match self.beneath.is_empty() {
            true => self.parent(parent)?,
            false => self.parent(&joined(&self.beneath, parent))?,
        };
        self.tree.touch_parents(&place);
        join(&mut place, name);
        let again = !self.tree.touch(&place);
        if self.options.keep_kinds {
            check_kind(&dir, name, header.kind).map_err(|reason| tar.bad(path, reason))?;
        }
        self.listing.put(&place, &header);
        if again {
            // What is there must be complete before it is replaced, and no writer may come after us.
            self.settle()?;
        }
        // Where nothing was, only an entry of this tar can be in the way.
        let replaces = again || !self.options.fresh || self.tree.is_open(&place);
        match header.kind {
            EntryKind::Directory => self.make_directory(place, &dir, header, replaces),
            EntryKind::HardLink => {
                let target = clean(&header.link).map_err(|reason| tar.bad(path, reason))?;
                if target.is_empty() {
                    return Err(tar.bad(path, "a hard link names the root"));
                }
                self.link_later(Link { path: place, target: joined(&self.beneath, &target), replaces })
            }
            EntryKind::File => {
                if again || self.tree.is_open(&place) {
                    self.remove_first(&place)?;
                }
                self.make_file(place, dir, header, tar)
            }
            _ => self.make_node(&place, &dir, header, tar, replaces),
        }
    }

    fn make_file<R: FnMut() -> io::Result<Option<Piece>>>(
        &mut self,
        path: Vec<u8>,
        dir: Arc<OwnedFd>,
        header: Header,
        tar: &mut TarReader<R>,
    ) -> Result<()> {
        let (size, sparse) = (header.size, header.sparse.clone());
        let same = self.same(&path);
        let replaces = !self.options.fresh;
        let file = NewFile { dir, path, attributes: self.attributes(header), replaces, same };
        let read = |count, out: &mut Vec<Slice>| tar.content(count, out);
        match sparse {
            Some(map) => {
                self.applied.bytes += map.size;
                self.writers.sparse_file(file, &map, read)
            }
            None => {
                self.applied.bytes += size;
                self.writers.file(file, size, read)
            }
        }
    }

    /// The directory elsewhere that has the same file under the same name. Whether it really has is the link's to find out.
    fn same(&mut self, path: &[u8]) -> Option<Arc<OwnedFd>> {
        let same = self.options.same.as_ref().filter(|same| same.paths.contains(path))?;
        let parent = split(path).0;
        if self.same_dir.as_ref().is_none_or(|(open, _)| open != parent) {
            let dir = same.root.open_dir(as_path(parent)).ok()?;
            self.same_dir = Some((parent.to_vec(), Arc::new(dir)));
        }
        self.same_dir.as_ref().map(|(_, dir)| dir.clone())
    }

    fn make_directory(&mut self, path: Vec<u8>, dir: &OwnedFd, header: Header, replaces: bool) -> Result<()> {
        let attributes = self.attributes(header);
        let name = name_of(&path);
        match fs::mkdirat(dir.as_fd(), name, attributes.creation_mode()) {
            Err(error) if error.is_exists() && !replaces => return Err(same_name(&path)),
            Err(error) if error.is_exists() && fs::statat(dir.as_fd(), name)?.is_dir() => {}
            Err(error) if error.is_exists() => {
                self.tree.remove(&path)?;
                fs::mkdirat(dir.as_fd(), name, attributes.creation_mode())?;
            }
            other => other?,
        }
        let made = if self.tree.is_open(&path) {
            self.tree.directory(&path)?
        } else {
            self.tree.keep(&path, fs::open_dir(dir.as_fd(), name)?)
        };
        attributes.finish(made.as_fd())?;
        self.tree.set_time(path, attributes.mtime);
        Ok(())
    }

    /// Links, devices and FIFOs: made here, by name.
    fn make_node<R: FnMut() -> io::Result<Option<Piece>>>(
        &mut self,
        path: &[u8],
        dir: &OwnedFd,
        header: Header,
        tar: &TarReader<R>,
        replaces: bool,
    ) -> Result<()> {
        let is_device = matches!(header.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        if is_device && (!self.options.devices || is_confined()) {
            return Ok(());
        }
        if header.kind == EntryKind::CharDevice && header.device == (0, 0) {
            return Err(tar.bad(&header.path, "device 0:0 would delete files of lower layers"));
        }
        match make_by_name(dir, path, &header) {
            Err(error) if error.is_exists() && !replaces => return Err(same_name(path)),
            Err(error) if error.is_exists() => {
                self.remove_first(path)?;
                make_by_name(dir, path, &header)?;
            }
            other => other?,
        }
        self.attributes(header).finish_name(dir.as_fd(), name_of(path))
    }

    fn attributes(&self, header: Header) -> Attributes {
        let owner = self.options.owner.unwrap_or(Owner { uid: header.uid, gid: header.gid });
        let is_others = (owner.uid, owner.gid) != (header.uid, header.gid);
        let Header { mode, mtime, xattrs, .. } = header;
        let mode = if self.options.drop_set_ids && is_others { mode & !SET_IDS } else { mode };
        Attributes { mode, uid: owner.uid, gid: owner.gid, mtime, xattrs }
    }

    fn remove_first(&mut self, path: &[u8]) -> Result<()> {
        self.writers.barrier()?;
        self.tree.remove(path)
    }

    fn link_later(&mut self, link: Link) -> Result<()> {
        self.links.push(link);
        if self.links.len() >= MAX_LINKS_WAITING {
            self.settle()?;
        }
        Ok(())
    }

    /// Completes everything that waits: files first, then the links to them.
    fn settle(&mut self) -> Result<()> {
        self.writers.barrier()?;
        for link in std::mem::take(&mut self.links) {
            self.link(&link).map_err(|error| Error::Entry {
                entry: self.applied.entries,
                path: show(&link.path),
                reason: format!("hard link to `{}`: {error}", show(&link.target)),
            })?;
        }
        Ok(())
    }

    fn link(&mut self, link: &Link) -> Result<()> {
        let (parent, name) = split(&link.target);
        let Found::Directory(_, from) = self.tree.find(parent)? else {
            return Err(kiln_sys::Error::new("linkat", "its directory", Errno::NOENT).into());
        };
        let dir = self.tree.directory(split(&link.path).0)?;
        let (target, path) = (as_path(name), name_of(&link.path));
        match fs::linkat(from.as_fd(), target, dir.as_fd(), path) {
            Err(error) if error.is_exists() => {
                let (old, new) = (fs::statat(dir.as_fd(), path)?, fs::statat(from.as_fd(), target)?);
                if (old.dev, old.ino) == (new.dev, new.ino) {
                    return Ok(());
                }
                if !link.replaces {
                    return Err(same_name(&link.path));
                }
                self.tree.remove(&link.path)?;
                Ok(fs::linkat(from.as_fd(), target, dir.as_fd(), path)?)
            }
            other => Ok(other?),
        }
    }

    /// Walks to a directory. What this layer wrote may still be on its way to the file system.
    fn find(&mut self, path: &[u8]) -> Result<Found> {
        match self.tree.find(path)? {
            Found::Missing { path: place, .. } if self.tree.is_touched(&place) => {
                self.settle()?;
                self.tree.find(path)
            }
            found => Ok(found),
        }
    }

    /// The directory for a new entry; those missing on the way are made with mode 0755 and root as owner.
    fn parent(&mut self, path: &[u8]) -> Result<(Vec<u8>, Arc<OwnedFd>)> {
        loop {
            match self.find(path)? {
                Found::Directory(place, dir) => return Ok((place, dir)),
                Found::Missing { path: place, .. } => self.make_parent(&place)?,
                Found::Obstacle { path: place, .. } => {
                    let subject = format!("`{}`", show(&place));
                    return Err(kiln_sys::Error::new("openat", subject, Errno::NOTDIR).into());
                }
            }
        }
    }

    fn make_parent(&mut self, place: &[u8]) -> Result<()> {
        let dir = self.tree.directory(split(place).0)?;
        fs::mkdirat(dir.as_fd(), name_of(place), 0o755)?;
        let made = fs::open_dir(dir.as_fd(), name_of(place))?;
        fs::fchown(made.as_fd(), Owner { uid: 0, gid: 0 })?;
        fs::fchmod(made.as_fd(), 0o755)?;
        self.tree.keep(place, made);
        self.listing.made(place);
        Ok(())
    }
}

/// Whether an entry of this kind may replace what has its name.
fn check_kind(dir: &OwnedFd, name: &[u8], kind: EntryKind) -> Result<(), &'static str> {
    let Ok(old) = fs::statat(dir.as_fd(), as_path(name)) else { return Ok(()) };
    match (old.is_dir(), kind == EntryKind::Directory) {
        (true, false) => Err("cannot overwrite directory with non-directory"),
        (false, true) => Err("cannot overwrite non-directory with directory"),
        _ => Ok(()),
    }
}

fn same_name(path: &[u8]) -> Error {
    Error::SameName { path: show(path) }
}

fn make_by_name(dir: &OwnedFd, path: &[u8], header: &Header) -> kiln_sys::Result<()> {
    const S_IFIFO: u32 = 0o010_000;
    const S_IFCHR: u32 = 0o020_000;
    const S_IFBLK: u32 = 0o060_000;
    let name = name_of(path);
    let kind = match header.kind {
        EntryKind::Symlink => return fs::symlinkat(as_path(&header.link), dir.as_fd(), name),
        EntryKind::CharDevice => S_IFCHR,
        EntryKind::BlockDevice => S_IFBLK,
        _ => S_IFIFO,
    };
    let device = fs::makedev(header.device.0, header.device.1);
    fs::mknodat(dir.as_fd(), name, kind | header.mode & 0o777, device)
}
