//! The exporters `local` and `tar`: the files of the result, read through a view and written beneath a descriptor.

use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_snapshot::{TarOptions, TarWriter, diff_trees};
use kiln_sys::fs::Root;

use super::{Built, Destination};
use crate::error::Cause;
use crate::workspace::View;

/// Permissions of the folder of a platform.
const FOLDER_MODE: u32 = 0o755;

/// Copies the files of the result into the directory `dest`. Links of the result never lead out of it.
pub(super) fn to_directory(store: &Arc<Store>, built: &Built, dest: &Path) -> Result<(), Cause> {
    std::fs::create_dir_all(dest).map_err(Cause::io(format!("make `{}`", dest.display())))?;
    let dest = Root::open(dest)?;
    let here = Path::new(".");
    let options = CopyOptions { merge_metadata: false, ..CopyOptions::exact() };
    for image in &built.images {
        let view = View::of(store, &image.layers)?;
        match built.multi_platform {
            false => copy(&view.root()?, here, &dest, here, &options)?,
            true => copy(&view.root()?, here, &folder(&dest, &image.folder())?, here, &options)?,
        };
    }
    Ok(())
}

/// A folder of `dest`, made where it is missing.
fn folder(dest: &Root, name: &str) -> Result<Root, Cause> {
    dest.create_dir_all(name, FOLDER_MODE, None)?;
    Ok(Root::from_fd(dest.open_dir(name)?))
}

/// Writes the files of the result as one tar.
pub(super) fn to_tar(store: &Arc<Store>, built: &Built, dest: Destination) -> Result<(), Cause> {
    dest.fill(|out| {
        let mut tar = TarWriter::new(BufWriter::new(out));
        for image in &built.images {
            let view = View::of(store, &image.layers)?;
            let root = view.root()?;
            let folder = if built.multi_platform { image.folder().into_bytes() } else { Vec::new() };
            let options = TarOptions { clamp_mtime: built.epoch, folder };
            tar.append(&diff_trees(None, &root)?, &root, &options)?;
        }
        tar.finish()?;
        Ok(())
    })
}
