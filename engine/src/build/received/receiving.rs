//! A transfer into a folder: what the sender names is checked, and what it need not send again is found.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use kiln_builder::context::join;
use kiln_builder::tree::{TreeEntry, TreeNode, compare};
use kiln_sys::fs::{self, FileType, Owner, Root, Stat, Time, statat};

use crate::{Error, Result};

/// The most files of one context.
const MAX_FILES: usize = 4_000_000;
/// The longest path and the longest name in it, as in Linux.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;
/// The most bytes of all paths, links and attributes together, which are in memory until the transfer ends.
const MAX_NAMED: usize = 1 << 30;
/// The most bytes of a link's text.
const MAX_LINK: usize = 4095;
const NANOSECONDS: i64 = 1_000_000_000;

/// A transfer into a folder.
#[derive(Debug)]
pub struct Receiving<'a> {
    root: &'a Root,
    /// Whether we can give files away, which root alone can.
    gives: bool,
    last: Vec<u8>,
    /// The bytes of what was named so far.
    bytes: usize,
    named: HashSet<Vec<u8>>,
    directories: HashMap<Vec<u8>, TreeEntry>,
    files: HashSet<Vec<u8>>,
    links: Vec<TreeEntry>,
    /// The directory of the last file, in which the next one mostly is.
    here: Option<(Vec<u8>, OwnedFd)>,
}

/// A file whose content comes.
#[derive(Debug)]
pub struct Filling {
    file: File,
    entry: TreeEntry,
}

impl<'a> Receiving<'a> {
    pub(super) fn new(root: &'a Root) -> Receiving<'a> {
        // The folder is ours.
        let gives = fs::fstat(root.as_fd()).is_ok_and(|stat| stat.uid == 0);
        Receiving {
            root,
            gives,
            last: Vec::new(),
            bytes: 0,
            named: HashSet::new(),
            directories: HashMap::new(),
            files: HashSet::new(),
            links: Vec::new(),
            here: None,
        }
    }
}

impl Receiving<'_> {
    /// Takes note of the next file; whether its content is wanted. Blocking.
    pub fn entry(&mut self, entry: &TreeEntry) -> Result<bool> {
        self.check(entry)?;
        self.bytes = self.bytes.saturating_add(size(entry));
        self.last.clone_from(&entry.path);
        if entry.node == TreeNode::Special {
            return Ok(false);
        }
        let gives = self.gives;
        let (dir, name) = self.next_place(&entry.path)?;
        let kept = put(dir, &name, entry, gives).map_err(|error| refused(&entry.path, error))?;
        self.named.insert(entry.path.clone());
        match &entry.node {
            TreeNode::Directory => drop(self.directories.insert(entry.path.clone(), entry.clone())),
            TreeNode::HardLink(_) => self.links.push(entry.clone()),
            TreeNode::File(_) => {
                self.files.insert(entry.path.clone());
                return Ok(!kept);
            }
            TreeNode::Symlink(_) | TreeNode::Fifo | TreeNode::Special => {}
        }
        Ok(false)
    }

    /// Begins a file whose content was wanted. Blocking.
    pub fn create(&self, entry: TreeEntry) -> Result<Filling> {
        let (dir, name) = self.place(&entry.path)?;
        let file = fs::create_file(dir.as_fd(), &name, 0o600).map_err(|error| refused(&entry.path, error))?;
        Ok(Filling { file, entry })
    }

    /// Ends the transfer: what was not named is gone. Blocking.
    pub fn finish(self) -> Result<()> {
        for link in &self.links {
            let TreeNode::HardLink(of) = &link.node else { continue };
            let ((from_dir, from), (dir, name)) = (self.place(of)?, self.place(&link.path)?);
            let linked = fs::linkat(from_dir.as_fd(), &from, dir.as_fd(), &name);
            linked.map_err(|error| refused(&link.path, error))?;
        }
        let root = fs::open_dir(self.root.as_fd(), ".").map_err(|error| refused(b".", error))?;
        self.remove_others(&root, b"")?;
        // Deepest first: what is done in a directory changes its time.
        let paths: BTreeSet<&Vec<u8>> = self.directories.keys().collect();
        for path in paths.into_iter().rev() {
            let (entry, failed) = (&self.directories[path], |error| refused(path, error));
            let dir = self.root.open_dir(Path::new(OsStr::from_bytes(path))).map_err(failed)?;
            own(&dir, OsStr::new(""), entry).map_err(failed)?;
            fs::fchmod(dir.as_fd(), entry.mode & 0o7777).map_err(failed)?;
            fs::futimens(dir.as_fd(), None, Some(time(entry.mtime))).map_err(failed)?;
        }
        Ok(())
    }

    /// Strangers' names are names, in order, and in directories that were named before.
    fn check(&self, entry: &TreeEntry) -> Result<()> {
        let path = &entry.path[..];
        let wrong = |why: &str| {
            Err(Error::invalid(format!(
                "the sender's path `{}` {why}",
                String::from_utf8_lossy(path).escape_debug()
            )))
        };
        let is_name = |name: &[u8]| {
            !name.is_empty() && name != b"." && name != b".." && name.len() <= MAX_NAME && !name.contains(&0)
        };
        if path.len() > MAX_PATH || !path.split(|byte| *byte == b'/').all(is_name) {
            return wrong("is none");
        }
        if !self.last.is_empty() && compare(&self.last, path) != std::cmp::Ordering::Less {
            return wrong("is out of order");
        }
        if self.named.len() >= MAX_FILES || self.bytes >= MAX_NAMED {
            return wrong("is one too many");
        }
        if let Some(parent) = parent(path)
            && !self.directories.contains_key(parent)
        {
            return wrong("is in no directory");
        }
        match &entry.node {
            TreeNode::HardLink(of) if !self.files.contains(of) => wrong("is another name of nothing"),
            TreeNode::Symlink(text) if text.is_empty() || text.len() > MAX_LINK || text.contains(&0) => {
                wrong("is a link to no path")
            }
            _ => Ok(()),
        }
    }

    /// The directory of a path that was checked, and the name there.
    fn place(&self, path: &[u8]) -> Result<(OwnedFd, OsString)> {
        self.root.parent_of(Path::new(OsStr::from_bytes(path))).map_err(|error| refused(path, error))
    }

    /// The same for paths in the order in which they come.
    fn next_place(&mut self, path: &[u8]) -> Result<(&OwnedFd, OsString)> {
        let above = parent(path).unwrap_or_default();
        if self.here.as_ref().is_none_or(|(here, _)| here != above) {
            self.here = Some((above.to_vec(), self.place(path)?.0));
        }
        let name = OsStr::from_bytes(&path[path.len().min(above.len() + usize::from(!above.is_empty()))..]);
        match &self.here {
            Some((_, dir)) => Ok((dir, name.to_owned())),
            None => Err(Error::invalid("a path without a directory")),
        }
    }

    fn remove_others(&self, dir: &OwnedFd, path: &[u8]) -> Result<()> {
        let failed = |error| refused(path, error);
        for found in fs::read_dir(dir.as_fd()).map_err(failed)? {
            let inside = join(path, found.name.as_bytes());
            if !self.named.contains(&inside) {
                fs::remove_tree(dir.as_fd(), &found.name).map_err(failed)?;
            } else if self.directories.contains_key(&inside) {
                let below = fs::open_dir(dir.as_fd(), &found.name).map_err(failed)?;
                self.remove_others(&below, &inside)?;
            }
        }
        Ok(())
    }
}

impl Filling {
    /// Writes the next bytes. Blocking.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = &self.entry.path;
        self.file.write_all(bytes).map_err(|error| {
            Error::internal(format!("write the received `{}`", String::from_utf8_lossy(path)), error)
        })
    }

    /// The content is whole: the file gets its metadata, by which it is known again. Blocking.
    pub fn finish(self) -> Result<()> {
        let Filling { file, entry } = self;
        let set = || {
            own(&file, OsStr::new(""), &entry)?;
            fs::fchmod(file.as_fd(), entry.mode & 0o7777)?;
            for (name, value) in carried(&entry) {
                fs::xattr::fset(file.as_fd(), OsStr::from_bytes(name), value)?;
            }
            fs::futimens(file.as_fd(), None, Some(time(entry.mtime)))
        };
        set().map_err(|error| refused(&entry.path, error))
    }
}

/// Makes what needs no content, and room for what does; whether it was there already.
fn put(
    dir: &OwnedFd,
    name: &OsStr,
    entry: &TreeEntry,
    gives: bool,
) -> std::result::Result<bool, kiln_sys::Error> {
    match statat(dir.as_fd(), name) {
        Ok(stat) if is_same(dir, name, (&stat, entry), gives) => return Ok(true),
        Ok(_) => fs::remove_tree(dir.as_fd(), name)?,
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    match &entry.node {
        TreeNode::Directory => fs::mkdirat(dir.as_fd(), name, 0o700)?,
        TreeNode::Symlink(text) => {
            fs::symlinkat(Path::new(OsStr::from_bytes(text)), dir.as_fd(), name)?;
            own(dir, name, entry)?;
            fs::utimensat(dir.as_fd(), name, None, Some(time(entry.mtime)))?;
        }
        TreeNode::Fifo => {
            const FIFO: u32 = 0o010_000;
            fs::mknodat(dir.as_fd(), name, FIFO | (entry.mode & 0o7777), 0)?;
        }
        TreeNode::File(_) | TreeNode::HardLink(_) | TreeNode::Special => {}
    }
    Ok(false)
}

/// Whether what is there is what is meant, by its metadata.
fn is_same(dir: &impl AsFd, name: &OsStr, (stat, entry): (&Stat, &TreeEntry), gives: bool) -> bool {
    let same_mode = stat.permissions() == entry.mode & 0o7777;
    let is_owned = !gives || (stat.uid, stat.gid) == (entry.uid, entry.gid);
    let same = same_mode && is_owned;
    match (&entry.node, stat.file_type()) {
        // Directories get their metadata at the end.
        (TreeNode::Directory, FileType::Directory) => true,
        (TreeNode::File(size), FileType::RegularFile) => {
            same && stat.nlink == 1
                && stat.size == *size
                && stat.mtime == time(entry.mtime)
                && has_attributes(dir, name, entry)
        }
        (TreeNode::Symlink(text), FileType::Symlink) => {
            is_owned
                && fs::readlinkat(dir.as_fd(), name)
                    .is_ok_and(|there| there.as_os_str().as_bytes() == &text[..])
        }
        (TreeNode::Fifo, FileType::Fifo) => same,
        _ => false,
    }
}

/// Whether a file has the attributes that it should, and no other that is carried.
fn has_attributes(dir: &impl AsFd, name: &OsStr, entry: &TreeEntry) -> bool {
    let wanted: BTreeMap<&[u8], &[u8]> =
        carried(entry).map(|(name, value)| (&name[..], &value[..])).collect();
    let Ok(there) = fs::xattr::list(dir.as_fd(), name) else { return false };
    let there: Vec<_> = there.iter().filter(|name| is_carried(name.as_bytes())).collect();
    let is_same = |attribute: &OsString| {
        let value = fs::xattr::get(dir.as_fd(), name, attribute).ok().flatten();
        value.is_some() && value.as_deref() == wanted.get(attribute.as_bytes()).copied()
    };
    there.len() == wanted.len() && there.into_iter().all(is_same)
}

/// The attributes of a file that come with it.
fn carried(entry: &TreeEntry) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
    entry.xattrs.iter().filter(|(name, _)| is_carried(name))
}

/// Gives a file to whom it belongs, where that is somebody else and we may.
fn own(dir: &impl AsFd, name: &OsStr, entry: &TreeEntry) -> std::result::Result<(), kiln_sys::Error> {
    let stat = statat(dir.as_fd(), name)?;
    if (stat.uid, stat.gid) == (entry.uid, entry.gid) {
        return Ok(());
    }
    match fs::chownat(dir.as_fd(), name, Owner { uid: entry.uid, gid: entry.gid }) {
        Err(error) if !error.is_permission() => Err(error),
        _ => Ok(()),
    }
}

/// Attributes that a sender may set: capabilities of programs, and what users may set anyway.
fn is_carried(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

fn time(nanoseconds: i64) -> Time {
    Time {
        seconds: nanoseconds.div_euclid(NANOSECONDS),
        nanoseconds: nanoseconds.rem_euclid(NANOSECONDS) as u32,
    }
}

/// The bytes of what is said about a file.
fn size(entry: &TreeEntry) -> usize {
    let text = match &entry.node {
        TreeNode::Symlink(text) | TreeNode::HardLink(text) => text.len(),
        _ => 0,
    };
    let attributes = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    entry.path.len() + text + attributes
}

fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|byte| *byte == b'/').map(|at| &path[..at])
}

fn refused(path: &[u8], error: kiln_sys::Error) -> Error {
    Error::internal(format!("receive `{}`", String::from_utf8_lossy(path)), error)
}
