//! The exporters `local` and `tar`: the files of the result, read through a view and written beneath a descriptor.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_oci::Platform;
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_snapshot::{ChangeKind, Node, TarOptions, TarWriter, diff_trees};
use kiln_sys::fs::Root;

use super::options::LocalMode;
use super::{Built, Destination, Image, prune};
use crate::attest::files as attest;
use crate::error::Cause;
use crate::workspace::View;

/// Permissions of the folder of a platform.
pub(super) const FOLDER_MODE: u32 = 0o755;
/// Permissions of a file with a statement, BuildKit's.
pub(super) const FILE_MODE: u32 = 0o600;

/// What both exporters may be told.
pub(super) struct Options {
    /// Whether each platform gets a folder; `None` is where the build is for several.
    pub(super) split: Option<bool>,
    /// Replaces times, in seconds; `None` is the build's own.
    pub(super) epoch: Option<i64>,
    /// What is in front of the names of files with statements.
    pub(super) prefix: String,
}

/// Copies the files of the result into the directory `dest`, or into a folder of it for each platform. Links of the result
/// never lead out of it.
pub(super) fn to_directory(
    store: &Arc<Store>,
    built: &Built,
    dest: &Path,
    mode: LocalMode,
    wanted: &Options,
) -> Result<(), Cause> {
    let split = wanted.split.unwrap_or(built.multi_platform);
    if !split {
        refuse_overlap(store, built)?;
    }
    std::fs::create_dir_all(dest).map_err(Cause::io(format!("make `{}`", dest.display())))?;
    let dest = Root::open(dest)?;
    let here = Path::new(".");
    let options =
        CopyOptions { merge_metadata: false, mtime: wanted.epoch.or(built.epoch), ..CopyOptions::exact() };
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
    for ((root, folder), image) in roots.iter().zip(&folders).zip(&built.images) {
        copy(root, here, folder, here, &options)?;
        for (name, bytes) in statements(built, image, root, split, wanted)? {
            write(folder, &name, &bytes)?;
        }
    }
    Ok(())
}

/// The files that say what there is to say about an image's files, by name.
pub(super) fn statements(
    built: &Built,
    image: &Image,
    root: &Root,
    split: bool,
    wanted: &Options,
) -> Result<Vec<(String, Vec<u8>)>, Cause> {
    if image.attestations.is_empty() {
        return Ok(Vec::new());
    }
    let tag = (built.multi_platform && !split).then(|| image.folder());
    let changes = diff_trees(None, root)?;
    attest::statements(&image.attestations, &changes, root, &wanted.prefix, tag.as_deref())
}

/// Writes a file in place of one that is there; a folder there is an error.
fn write(dest: &Root, name: &str, bytes: &[u8]) -> Result<(), Cause> {
    match kiln_sys::fs::unlinkat(dest.as_fd(), name) {
        Err(error) if !error.is_not_found() => return Err(error.into()),
        _ => {}
    }
    let mut file = kiln_sys::fs::create_file(dest.as_fd(), name, FILE_MODE)?;
    file.write_all(bytes).map_err(Cause::io(format!("write `{name}`")))
}

/// Refuses files of one path that several platforms have: the last would win.
pub(super) fn refuse_overlap(store: &Arc<Store>, built: &Built) -> Result<(), Cause> {
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
    wanted: &Options,
) -> Result<(), Cause> {
    let split = wanted.split.unwrap_or(built.multi_platform);
    if !split {
        refuse_overlap(store, built)?;
    }
    dest.fill(|out| {
        let mut tar = TarWriter::new(BufWriter::new(out));
        for image in &built.images {
            let view = View::of(store, &image.layers)?;
            let root = view.root()?;
            let folder = if split { image.folder().into_bytes() } else { Vec::new() };
            let options =
                TarOptions { clamp_mtime: wanted.epoch.or(built.epoch), folder, ..TarOptions::default() };
            tar.append(&diff_trees(None, &root)?, &root, &options)?;
            for (name, bytes) in statements(built, image, &root, split, wanted)? {
                let path = [&options.folder[..], name.as_bytes()].into_iter().filter(|part| !part.is_empty());
                tar.file(&path.collect::<Vec<_>>().join(&b'/'), FILE_MODE, &bytes)?;
            }
        }
        tar.finish()?;
        Ok(())
    })
}
