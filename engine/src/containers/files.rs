//! The files of a container, running or not, with all that is mounted in it.
//!
//! Paths are the container's. They are resolved beneath a descriptor of its root, so whatever a link in it says, and whoever
//! changes it meanwhile, nothing outside is reached; nothing of the container is executed or loaded.

mod copy;
mod tree;
mod view;

use std::path::Path;

use kiln_sys::fs::{FileLock, lock_file};

use super::{Containers, Record};
use crate::{Error, ErrorKind, Result};
pub use copy::CopyOptions;
use tree::Tree;
pub use tree::{FileStat, WriteOptions};
use view::View;

/// The file in a container's directory whose lock says that somebody has its filesystem.
const LOCK: &str = "files.lock";

/// The files of one container. One that does not run is not started as long as this value lives.
#[derive(Debug)]
pub struct Files {
    view: View,
    record: Record,
}

impl Containers<'_> {
    /// The files of a container. Blocks while others have those of one that does not run.
    pub fn files(&self, name: &str) -> Result<Files> {
        let (view, record) = View::open(self.engine, name)?;
        Ok(Files { view, record })
    }
}

impl Files {
    /// What is at `path`, a link at its end not followed unless a slash comes after it.
    pub fn stat(&self, path: &str) -> Result<FileStat> {
        self.tree().stat(path, false)
    }

    /// Writes what is at `path` as a tar, under its last name: a directory with all that is in it, anything else by itself. The
    /// names of what is in `DIR/.` begin with `./`, those of what is in `/` with `/`.
    pub fn read(&self, path: &str, out: impl std::io::Write) -> Result<()> {
        let tree = self.tree();
        tree.read(path, &tree::top_name(path), out)
    }

    /// Unpacks a tar, compressed or not, into the directory `path`.
    pub fn write(&self, path: &str, tar: impl std::io::Read, options: WriteOptions) -> Result<()> {
        let owner = if options.as_container_user { self.user()? } else { None };
        self.check_writable(path)?;
        self.tree().write(path, tar, owner, options.keep_kinds, true)
    }

    fn tree(&self) -> Tree<'_> {
        Tree { root: self.view.root() }
    }

    /// Who the container runs as; nobody in particular where it does not say.
    fn user(&self) -> Result<Option<kiln_sys::fs::Owner>> {
        let Some(user) = self.record.container.options.user.as_deref().filter(|user| !user.is_empty()) else {
            return Ok(None);
        };
        let found = kiln_runtime::plan::user::lookup(self.view.root(), user, &[])?;
        Ok(Some(kiln_sys::fs::Owner { uid: found.ids.uid, gid: found.ids.gid }))
    }

    /// What the container may not write, others do not write for it.
    fn check_writable(&self, path: &str) -> Result<()> {
        let path = self.tree().follow(path)?;
        let forbidden =
            |what: &str| Err(Error::new(ErrorKind::Forbidden, format!("{what} is marked read-only")));
        let mounts = self.record.container.mounts.iter();
        let within = mounts.filter(|mount| path.starts_with(&mount.target));
        match within.max_by_key(|mount| mount.target.len()) {
            Some(mount) if mount.readonly => forbidden("mounted volume"),
            None if self.record.container.options.read_only => forbidden("container rootfs"),
            _ => Ok(()),
        }
    }
}

/// Waits until nobody else has the filesystem of the container with this directory.
pub(crate) fn lock(directory: &Path) -> Result<FileLock> {
    lock_file(&directory.join(LOCK)).map_err(|error| Error::internal("lock the container's files", error))
}
