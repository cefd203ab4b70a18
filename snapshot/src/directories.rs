//! The directories of snapshots on disk: one for each id, removed by first renaming it aside.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_sys::fs::{self, Root};

use crate::scan::Scan;
use crate::{Error, Result, Usage};

/// Ends the name of a directory that is being removed.
const REMOVED: &str = ".removed";

/// `<root>/<id>/…`
#[derive(Debug)]
pub(crate) struct Directories {
    path: PathBuf,
    root: Root,
}

impl Directories {
    /// Opens the directory of directories, making it when it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io("create", path.display().to_string()))?;
        Ok(Self { path: path.to_owned(), root: Root::open(path)? })
    }

    /// `<root>/<id>/<part>`
    pub(crate) fn part(&self, id: u64, part: &str) -> PathBuf {
        self.path.join(id.to_string()).join(part)
    }

    /// Opens `<root>/<id>/<part>`.
    pub(crate) fn open_part(&self, id: u64, part: &str) -> Result<Root> {
        Ok(Root::open(&self.part(id, part))?)
    }

    /// Makes the directory of `id` with `parts` in it. `fs` becomes the root of a file system, so everybody may
    /// search it; the directory around it keeps others out.
    pub(crate) fn create(&self, id: u64, parts: &[&str]) -> Result<()> {
        let name = id.to_string();
        fs::mkdirat(self.root.as_fd(), &name, 0o700)?;
        for part in parts {
            fs::mkdirat(self.root.as_fd(), format!("{name}/{part}"), 0o755)?;
        }
        Ok(())
    }

    /// Removes a part that nobody uses of these directories, of those that are still there. What stays goes with its directory.
    pub(crate) fn remove_parts(&self, ids: Vec<u64>, part: &str) {
        for id in ids {
            if let Ok(dir) = fs::open_dir(self.root.as_fd(), id.to_string()) {
                drop(fs::remove_tree(dir.as_fd(), part));
            }
        }
    }

    /// Removes the directory of `id`: gone at once under its own name, then piece by piece.
    pub(crate) fn remove(&self, id: u64) -> Result<()> {
        let (name, aside) = (id.to_string(), format!("{id}{REMOVED}"));
        match fs::renameat(self.root.as_fd(), &name, self.root.as_fd(), &aside) {
            Ok(()) => Ok(fs::remove_tree(self.root.as_fd(), &aside)?),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what half-done removals left, and directories whose id nobody has.
    pub(crate) fn clean(&self, has_id: impl Fn(u64) -> Result<bool>) -> Result<()> {
        let listing = fs::open_dir(self.root.as_fd(), ".")?;
        for entry in fs::read_dir(listing.as_fd())? {
            let name = entry.name.to_string_lossy();
            match name.parse::<u64>() {
                Ok(id) if !has_id(id)? => self.remove(id)?,
                Err(_) if name.ends_with(REMOVED) => fs::remove_tree(self.root.as_fd(), &entry.name)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What a part takes on disk.
    pub(crate) fn usage(&self, id: u64, part: &str) -> Result<Usage> {
        let root = self.open_part(id, part)?;
        let mut usage = Usage::default();
        let mut seen = std::collections::HashSet::new();
        for found in Scan::plain().tree(&root)? {
            if found.stat.nlink < 2 || found.stat.is_dir() || seen.insert(found.stat.ino) {
                usage.bytes += found.stat.blocks * 512;
                usage.inodes += 1;
            }
        }
        Ok(usage)
    }
}
