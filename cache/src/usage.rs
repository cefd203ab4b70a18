//! What things take on disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{IoContext, Result};

/// The allocated bytes of a file or tree; symbolic links are not followed, and what vanishes meanwhile does not count.
pub fn tree_bytes(path: &Path) -> Result<u64> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        result => result.at("stat", path)?,
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return Ok(own);
    }
    let entries = fs::read_dir(path).at("read directory", path)?;
    entries
        .into_iter()
        .try_fold(own, |sum, entry| Ok(sum + tree_bytes(&entry.at("read directory", path)?.path())?))
}
