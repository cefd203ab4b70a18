//! The two things that whoever keeps snapshots asks of the host: a private look at a mount list, and a sync.

use std::os::fd::AsFd;
use std::path::Path;

use kiln_sys::fs::{self, Root};
use kiln_sys::mount::Mount;

use crate::{Error, Result};

/// The root directory that `mounts` (as a [`Snapshotter`](crate::Snapshotter) gives them) make, mounted where nobody else sees
/// it. The mount ends with the last descriptor beneath it.
pub fn detached_root(mounts: &[Mount]) -> Result<Root> {
    let [mount] = mounts else {
        return Err(Error::NotFound("the single root mount of a snapshot".to_owned()));
    };
    Ok(Root::from_fd(mount.detached()?))
}

/// Writes everything of the file system that has `path` to its disk.
pub fn sync_filesystem(path: &Path) -> Result<()> {
    let directory = fs::open_dir(fs::CWD, path)?;
    Ok(fs::syncfs(directory.as_fd())?)
}
