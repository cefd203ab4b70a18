//! Filling an empty volume from the image's directory of the same path.

use std::path::Path;

use kiln_cache::Resource;
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_snapshot::{Key, Name};
use kiln_sys::fs::Root;

use crate::{Engine, Error, Result};

/// Copies the image's directory `path` into the volume's directory if that is empty, with its owner and mode.
/// A path that the image does not have, or that is no directory there, leaves the volume empty.
pub(super) fn from_image(engine: &Engine, id: &str, image: &Name, path: &str, volume: &Path) -> Result<()> {
    let failed =
        |error: kiln_snapshot::Error| Error::internal(format!("fill the volume for `{path}`"), error);
    if !is_empty(volume)? {
        return Ok(());
    }
    let store = engine.store();
    let lease = store.leases.create()?;
    let key = Key(format!("fill-{id}"));
    lease.hold(&Resource::Active(key.clone()))?;
    let mounts = store.snapshots.view(&key, Some(image)).map_err(failed)?;
    let Some(root) = mounts.iter().find(|mount| mount.target.as_os_str().is_empty()) else { return Ok(()) };
    // Nobody else sees this mount; it is gone when the descriptor is closed.
    let root = Root::from_fd(root.detached().map_err(|error| failed(error.into()))?);
    if root.open_dir(path).is_ok() {
        let target = Root::open(volume).map_err(|error| failed(error.into()))?;
        let options = CopyOptions { follow_source: true, ..CopyOptions::exact() };
        copy(&root, Path::new(path), &target, Path::new("."), &options).map_err(failed)?;
    }
    Ok(())
}

fn is_empty(directory: &Path) -> Result<bool> {
    let failed = |error| Error::internal(format!("read `{}`", directory.display()), error);
    Ok(std::fs::read_dir(directory).map_err(failed)?.next().is_none())
}

/// Bytes of everything beneath a directory; what cannot be read counts nothing.
pub(super) fn size(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
