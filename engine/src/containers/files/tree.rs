//! Files beneath a root as they are asked for by path: looked at, packed and unpacked.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use kiln_oci::compression::decompress_archive;
use kiln_runtime::prepare::view::normalise;
use kiln_snapshot::{ApplyOptions, TarOptions, apply, list_file, list_tree, write_tar};
use kiln_sys::Errno;
use kiln_sys::fs::{self, Owner, Root};

use crate::{Error, ErrorKind, Result};

/// The most symbolic links one path may go through, as in the kernel.
const LINKS_MAX: usize = 40;
/// The bits of `st_mode` that say what something is, and those of a directory.
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
/// What is read at once of a tar.
const PIECE: usize = 256 << 10;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// The last name of the path that was asked for; `/` for the root.
    pub name: String,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed, RFC 3339.
    pub modified: String,
    /// The path that a link leads to, without links, whether or not something is there; empty for everything else.
    pub link_target: String,
}

impl FileStat {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & KIND == DIRECTORY
    }
}

/// How a tar is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Refuse to put a directory where something else is, and something else where a directory is.
    pub keep_kinds: bool,
    /// All that is unpacked belongs to the user whom the container runs as, if it says one.
    pub as_container_user: bool,
}

/// Files beneath a root.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    pub(super) root: &'a Root,
}

impl Tree<'_> {
    /// What is at `path`; a link at its end is followed if `follow` says so, or a slash comes after it.
    pub(super) fn stat(&self, path: &str, follow: bool) -> Result<FileStat> {
        let found = self.root.resolve(absolute(path), follow).map_err(|error| wrong(path, error))?;
        let stat = fs::fstat(found.as_fd()).map_err(|error| wrong(path, error))?;
        let link_target =
            if stat.is_symlink() { self.follow(path)?.to_string_lossy().into_owned() } else { String::new() };
        let name = normalise(Path::new(path));
        let name =
            name.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned());
        let modified = jiff::Timestamp::new(stat.mtime.seconds, stat.mtime.nanoseconds.cast_signed());
        let modified = modified.unwrap_or_default().to_string();
        Ok(FileStat { name, mode: stat.mode, size: stat.size, modified, link_target })
    }

    /// Writes what is at `path` as a tar, under the name `top`.
    pub(super) fn read(&self, path: &str, top: &[u8], out: impl Write) -> Result<()> {
        let failed = |error: kiln_snapshot::Error| copy_failed(format!("read `{path}`"), error);
        let (root, name, all) = if self.stat(path, false)?.is_dir() {
            let root = self.root.open_dir(absolute(path)).map_err(|error| wrong(path, error))?;
            let root = Root::from_fd(root);
            let all = list_tree(&root).map_err(failed)?;
            (root, OsString::new(), all)
        } else {
            let (dir, name) =
                self.root.parent_of(normalise(Path::new(path))).map_err(|error| wrong(path, error))?;
            let dir = Root::from_fd(dir);
            let all = list_file(&dir, Path::new(&name)).map_err(failed)?;
            (dir, name, all)
        };
        let renamed = Some((name.into_encoded_bytes(), top.to_vec()));
        let written = write_tar(&all, &root, out, &TarOptions { renamed, ..TarOptions::default() });
        written.map(drop).map_err(failed)
    }

    /// Unpacks a tar, compressed or not, into the directory `path`.
    pub(super) fn write(
        &self,
        path: &str,
        tar: impl Read,
        owner: Option<Owner>,
        keep_kinds: bool,
        devices: bool,
    ) -> Result<()> {
        let to = absolute(path);
        match self.root.resolve(&to, true).and_then(|found| fs::fstat(found.as_fd())) {
            Ok(stat) if stat.is_dir() => {}
            Ok(_) => return Err(Error::invalid(format!("`{path}` is not a directory"))),
            Err(error) => return Err(wrong(path, error)),
        }
        let options = ApplyOptions {
            beneath: to.as_os_str().as_bytes().to_vec(),
            writers: 0,
            whiteouts: false,
            keep_kinds,
            drop_set_ids: true,
            owner,
            devices,
            ..ApplyOptions::default()
        };
        let tar = decompress_archive(BufReader::with_capacity(PIECE, tar));
        apply(tar, self.root, &options)
            .map(drop)
            .map_err(|error| copy_failed(format!("unpack into `{path}`"), error))
    }

    /// Where `path` leads to, without links, also where nothing is at its end.
    pub(super) fn follow(&self, path: &str) -> Result<PathBuf> {
        let (mut place, mut links) = (PathBuf::from("/"), 0);
        let mut rest: VecDeque<OsString> = names(Path::new(path)).collect();
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                place.pop();
                continue;
            }
            let next = place.join(&name);
            let found = self.root.resolve(&next, false);
            let is_link =
                |fd: &std::os::fd::OwnedFd| fs::fstat(fd.as_fd()).is_ok_and(|stat| stat.is_symlink());
            let Some(link) = found.ok().filter(is_link) else {
                place = next;
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(Error::invalid(format!("`{path}` goes through too many links")));
            }
            let target = fs::readlinkat(link.as_fd(), "").map_err(|error| wrong(path, error))?;
            if target.is_absolute() {
                place = PathBuf::from("/");
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(name);
            }
        }
        Ok(place)
    }
}

/// The name that a path has in a tar of it: its last, `.` for what is in a directory, and nothing for the root.
pub(super) fn top_name(path: &str) -> Vec<u8> {
    if is_contents(path) && normalise(Path::new(path)) != Path::new("/") {
        return b".".to_vec();
    }
    normalise(Path::new(path)).file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default()
}

/// Whether a path means what is in a directory, and not the directory.
pub(super) fn is_contents(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// The path from the root, with the slash at its end that says that it is a directory.
fn absolute(path: &str) -> PathBuf {
    let mut clean = normalise(Path::new(path)).into_os_string();
    if (path.ends_with('/') || is_contents(path)) && clean != "/" {
        clean.push("/");
    }
    clean.into()
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// An error about a path that somebody named.
fn wrong(path: &str, error: kiln_sys::Error) -> Error {
    match error.errno {
        Errno::NOENT => Error::not_found(format!("there is no `{path}`")),
        Errno::NOTDIR => Error::invalid(format!("`{path}` is not a directory, or lies in none")),
        Errno::LOOP => Error::invalid(format!("`{path}` goes through too many links")),
        _ => Error::internal(format!("look for `{path}`"), error),
    }
}

fn copy_failed(message: String, error: kiln_snapshot::Error) -> Error {
    let kind = match &error {
        kiln_snapshot::Error::Sys(cause) if cause.errno == Errno::ROFS => ErrorKind::Forbidden,
        kiln_snapshot::Error::Entry { .. } => ErrorKind::InvalidInput,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, message).caused_by(error)
}
