//! The exporters `local` and `tar`: the files of the result, read through a view and written beneath a descriptor.

use std::collections::HashMap;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_oci::Platform;
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_snapshot::{ChangeKind, Node, TarOptions, TarWriter, diff_trees};
use kiln_sys::fs::Root;

use super::options::LocalMode;
use super::{Built, Destination, prune};
use crate::error::Cause;
use crate::workspace::View;

/// Permissions of the folder of a platform.
const FOLDER_MODE: u32 = 0o755;

/// Copies the files of the result into the directory `dest`, or into a folder of it for each platform. Links of the result
/// never lead out of it.
pub(super) fn to_directory(
    store: &Arc<Store>,
    built: &Built,
    dest: &Path,
    split: Option<bool>,
    mode: LocalMode,
    epoch: Option<i64>,
) -> Result<(), Cause> {
    let split = split.unwrap_or(built.multi_platform);
    if !split {
        refuse_overlap(store, built)?;
    }
    std::fs::create_dir_all(dest).map_err(Cause::io(format!("make `{}`", dest.display())))?;
    let dest = Root::open(dest)?;
    let here = Path::new(".");
    let options = CopyOptions { merge_metadata: false, mtime: epoch.or(built.epoch), ..CopyOptions::exact() };
    let views = built.images.iter().map(|image| View::of(store, &image.layers));
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let roots = views.iter().map(View::root).collect::<Result<Vec<_>, _>>()?;
    let folders = built.images.iter().map(|image| match split {
        false => Ok(dest.try_clone()?),
        true => folder(&dest, &image.folder()),
    });
    let folders = folders.collect::<Result<Vec<_>, Cause>>()?;
    if mode == LocalMode::Delete {
        prune::to_result(built, &dest, &folders, &roots, split)?;
    }
    for (root, folder) in roots.iter().zip(&folders) {
        copy(root, here, folder, here, &options)?;
    }
    Ok(())
}

/// Refuses files of one path that several platforms have: the last would win.
fn refuse_overlap(store: &Arc<Store>, built: &Built) -> Result<(), Cause> {
    let mut seen: HashMap<Vec<u8>, &Platform> = HashMap::new();
    for image in built.images.iter().filter(|_| built.images.len() > 1) {
        let view = View::of(store, &image.layers)?;
        let files = diff_trees(None, &view.root()?)?.into_iter().filter(|change| !is_folder(&change.kind));
        for change in files {
            let path = String::from_utf8_lossy(&change.path).into_owned();
            if let Some(other) = seen.insert(change.path, &image.platform) {
                let platform = &image.platform;
                return Err(Cause::Invalid(format!(
                    "`{path}` is there for `{other}` and for `{platform}`, and both go to one folder"
                )));
            }
        }
    }
    Ok(())
}

fn is_folder(kind: &ChangeKind) -> bool {
    matches!(kind, ChangeKind::Put(put) if matches!(put.node, Node::Directory { .. }))
}

/// A folder of `dest`, made where it is missing.
fn folder(dest: &Root, name: &str) -> Result<Root, Cause> {
    dest.create_dir_all(name, FOLDER_MODE, None)?;
    Ok(Root::from_fd(dest.open_dir(name)?))
}

/// Writes the files of the result as one tar.
pub(super) fn to_tar(
    store: &Arc<Store>,
    built: &Built,
    dest: Destination,
    split: Option<bool>,
    epoch: Option<i64>,
) -> Result<(), Cause> {
    let split = split.unwrap_or(built.multi_platform);
    if !split {
        refuse_overlap(store, built)?;
    }
    dest.fill(|out| {
        let mut tar = TarWriter::new(BufWriter::new(out));
        for image in &built.images {
            let view = View::of(store, &image.layers)?;
            let root = view.root()?;
            let folder = if split { image.folder().into_bytes() } else { Vec::new() };
            let options = TarOptions { clamp_mtime: epoch.or(built.epoch), folder };
            tar.append(&diff_trees(None, &root)?, &root, &options)?;
        }
        tar.finish()?;
        Ok(())
    })
}
