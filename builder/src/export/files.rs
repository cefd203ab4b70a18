//! The exporters `local` and `tar`: the files of the result, read through a view and written beneath a descriptor.

use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_snapshot::{TarOptions, diff_trees, write_tar};
use kiln_sys::fs::Root;

use super::Destination;
use crate::error::Cause;
use crate::value::Layers;
use crate::workspace::View;

/// Copies the files of `layers` into the directory `dest`. Links of the result never lead out of it.
pub fn to_directory(store: &Arc<Store>, layers: &Layers, dest: &Path) -> Result<(), Cause> {
    std::fs::create_dir_all(dest).map_err(Cause::io(format!("make `{}`", dest.display())))?;
    let view = View::of(store, layers)?;
    let here = Path::new(".");
    let options = CopyOptions { merge_metadata: false, ..CopyOptions::exact() };
    copy(&view.root()?, here, &Root::open(dest)?, here, &options)?;
    Ok(())
}

/// Writes the files of `layers` as one tar.
pub fn to_tar(
    store: &Arc<Store>,
    layers: &Layers,
    epoch: Option<i64>,
    dest: Destination,
) -> Result<(), Cause> {
    let view = View::of(store, layers)?;
    let root = view.root()?;
    let files = diff_trees(None, &root)?;
    let options = TarOptions { clamp_mtime: epoch };
    dest.fill(|out| {
        write_tar(&files, &root, BufWriter::new(out), &options)?;
        Ok(())
    })
}
