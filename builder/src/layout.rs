//! OCI layout folders as places that images come from: what is wanted is taken into the store, verified.

use kiln_cache::{Lease, Resource, Store};
use kiln_oci::layout::blob_path;
use kiln_oci::parse::{Document, parse_manifest};
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_sys::fs::{self, Root};

use crate::error::Cause;

/// The registry that such images seem to be at; nobody can have it (RFC 6761, 6.4).
const REGISTRY: &str = "oci-layout.invalid";
/// The most bytes of an index or a manifest.
const MAX_DOCUMENT: u64 = 4 << 20;
/// How deep indexes may be in indexes.
const MAX_DEPTH: usize = 4;

/// What an image of a layout is called among images. The name is for people: the digest says which image it is.
pub fn reference(name: &str, digest: &Digest) -> Option<Reference> {
    let safe = name.replace(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()), "-");
    let named = format!("{REGISTRY}/{}@{digest}", safe.trim_matches('-')).parse();
    named.or_else(|_| format!("{REGISTRY}/image@{digest}").parse()).ok()
}

/// Takes the image or index `digest` of the layout `root` into the store, with all that it names, as long as `lease`
/// lives. Of an index, what the layout has: it may hold one platform of many. Blocking.
pub fn take(store: &Store, root: &Root, digest: &Digest, lease: &Lease) -> Result<(), Cause> {
    take_document(store, root, digest, lease, 0)
}

fn take_document(
    store: &Store,
    root: &Root,
    digest: &Digest,
    lease: &Lease,
    depth: usize,
) -> Result<(), Cause> {
    let wrong =
        |reason: &dyn std::fmt::Display| Cause::Invalid(format!("`{digest}` of the layout: {reason}"));
    if depth > MAX_DEPTH {
        return Err(wrong(&"its indexes are too deep"));
    }
    let size = match root.resolve(blob_path(digest), true) {
        Ok(file) => fs::fstat(std::os::fd::AsFd::as_fd(&file))?.size,
        Err(_) => return Err(wrong(&"it is not there")),
    };
    if size > MAX_DOCUMENT {
        return Err(wrong(&"it is too large for a manifest"));
    }
    take_blob(store, root, &Descriptor::new(MediaType::OCI_MANIFEST, digest.clone(), size), lease)?;
    let bytes = store.content.read(digest, MAX_DOCUMENT)?;
    match parse_manifest(&bytes, None).map_err(|error| wrong(&error))? {
        Document::Manifest(manifest) => {
            let mut blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
            blobs.try_for_each(|blob| take_blob(store, root, blob, lease))
        }
        Document::Index(index) => {
            let has = |it: &&Descriptor| root.resolve(blob_path(&it.digest), true).is_ok();
            let mut there = index.manifests.iter().filter(has);
            there.try_for_each(|it| take_document(store, root, &it.digest, lease, depth + 1))
        }
    }
}

/// Copies a blob into the store, verified, unless it is there.
fn take_blob(store: &Store, root: &Root, descriptor: &Descriptor, lease: &Lease) -> Result<(), Cause> {
    lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
    if store.content.info(&descriptor.digest)?.is_some() {
        return Ok(());
    }
    let file = root
        .open_file(blob_path(&descriptor.digest))
        .map_err(|_| Cause::Invalid(format!("the layout lacks `{}`", descriptor.digest)))?;
    Ok(store.content.copy_in(descriptor, file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_a_reference() {
        let digest = Digest::of(b"x");
        for (name, repository) in [("alpine:3.20", "alpine-3-20"), ("UPPER", "image"), ("", "image")] {
            let reference = reference(name, &digest).unwrap();
            assert_eq!((reference.registry(), reference.repository()), (REGISTRY, repository));
            assert_eq!(reference.digest(), Some(&digest));
        }
    }
}
