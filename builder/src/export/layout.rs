//! `tar=false`: an OCI layout as a directory, which may hold images already.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use kiln_cache::Store;
use kiln_oci::archive::{Blobs as _, Contents};
use kiln_oci::layout::{BLOBS_DIR, INDEX_FILE, LAYOUT, LAYOUT_FILE, REF_NAME, blob_path};
use kiln_oci::parse::MAX_MANIFEST;
use kiln_oci::{Algorithm, Descriptor, Index, Reference, VerifyReader};
use kiln_sys::fs::Root;

use super::archive::{Stored, saved};
use super::fill_file;
use crate::error::Cause;

/// Writes an image, or an index, with all its blobs into the layout `dest`, which is made where it is missing. Other images
/// of the layout stay, but for those of the same names; the list is replaced last, so it never names what is not there.
pub(super) fn write(store: &Store, root: &Descriptor, names: &[Reference], dest: &Path) -> Result<(), Cause> {
    let stored = Stored { store };
    let image = saved(store, root, names)?;
    let action = || format!("write the layout `{}`", dest.display());
    let contents = Contents::of(&[image], &stored).map_err(Cause::io(action()))?;
    let folder = dest.join(BLOBS_DIR).join(Algorithm::Sha256.name());
    fs::create_dir_all(&folder).map_err(Cause::io(format!("make `{}`", folder.display())))?;
    for (digest, bytes) in &contents.documents {
        blob(&dest.join(blob_path(digest)), bytes.len() as u64, &mut &bytes[..])?;
    }
    for descriptor in &contents.blobs {
        let content = stored.open(descriptor).map_err(Cause::io(action()))?;
        let mut content = VerifyReader::new(content, &descriptor.digest, descriptor.size);
        blob(&dest.join(blob_path(&descriptor.digest)), descriptor.size, &mut content)?;
    }
    file(&dest.join(LAYOUT_FILE), LAYOUT.as_bytes())?;
    let index = merged(listed(dest)?, contents.index);
    file(&dest.join(INDEX_FILE), &index.to_bytes())
}

/// Writes a blob, unless one of its size is there already.
fn blob(path: &Path, size: u64, content: &mut dyn io::Read) -> Result<(), Cause> {
    if fs::metadata(path).is_ok_and(|found| found.len() == size) {
        return Ok(());
    }
    let action = format!("write `{}`", path.display());
    fill_file(path, |out| io::copy(content, out).map(drop).map_err(Cause::io(action)))
}

fn file(path: &Path, bytes: &[u8]) -> Result<(), Cause> {
    let action = format!("write `{}`", path.display());
    fill_file(path, |out: &mut dyn Write| out.write_all(bytes).map_err(Cause::io(action)))
}

/// The list that is there.
fn listed(dest: &Path) -> Result<Option<Index>, Cause> {
    let path = dest.join(INDEX_FILE);
    let Some(bytes) = Root::open(dest)?.read_limited(INDEX_FILE, MAX_MANIFEST as u64)? else {
        return Ok(None);
    };
    let wrong = |error| Cause::Invalid(format!("`{}` is no list of images: {error}", path.display()));
    serde_json::from_slice(&bytes).map(Some).map_err(wrong)
}

/// `new` in place of the entries of `old` that have the same names, or are the same.
fn merged(old: Option<Index>, new: Index) -> Index {
    let Some(mut index) = old else { return new };
    let name = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
    index.manifests.retain(|entry| {
        let same_name = |other: &Descriptor| name(entry).is_some() && name(entry) == name(other);
        !new.manifests.iter().any(|other| same_name(other) || *other == *entry)
    });
    index.manifests.extend(new.manifests);
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_newest_and_other_images_stay() {
        let entry = |name: &str, content: &[u8]| {
            let mut entry = Descriptor::of("application/vnd.oci.image.manifest.v1+json", content);
            entry.annotations.insert(REF_NAME.to_owned(), name.to_owned());
            entry
        };
        let old = Index::new(vec![entry("1", b"old"), entry("2", b"other")]);
        let index = merged(Some(old), Index::new(vec![entry("1", b"new")]));
        assert_eq!(index.manifests, [entry("2", b"other"), entry("1", b"new")]);
        let nameless = Descriptor::of("x/y", b"a");
        let index = merged(Some(Index::new(vec![nameless.clone()])), Index::new(vec![nameless.clone()]));
        assert_eq!(index.manifests, [nameless]);
    }
}
