//! Back to nothing: everything in a state root goes, and what stands for it in the kernel.

use std::path::Path;

use crate::containers::{ListOptions, RemoveOptions};
use crate::{BENEATH, Engine, Error, Result};

impl Engine {
    /// Stops and removes every container, then this root's network and control groups, then everything in the root. Works on
    /// a root that was never used. Nobody else may use the root meanwhile.
    pub fn reset(self) -> Result<()> {
        let containers = self.containers();
        for container in containers.list(&ListOptions { all: true })? {
            containers.remove(&container.id, RemoveOptions { force: true, volumes: true })?;
        }
        self.networks().remove_all()?;
        let root = self.store().root().to_owned();
        for name in beneath(&root.join(BENEATH)) {
            self.beneath(&name)?.reset()?;
        }
        drop(self);
        empty(&root)
    }
}

/// The roots of others beneath a root.
fn beneath(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Removes what is in a directory; the directory itself may be a mount point and stays.
fn empty(root: &Path) -> Result<()> {
    let fail =
        |path: &Path, error: std::io::Error| Error::internal(format!("remove `{}`", path.display()), error);
    for entry in std::fs::read_dir(root).map_err(|error| fail(root, error))? {
        let path = entry.map_err(|error| fail(root, error))?.path();
        let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let removed = if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|error| fail(&path, error))?;
    }
    Ok(())
}
