//! Images of an OCI layout folder, taken into the store so that a build can use them like any other.

use std::path::Path;
use std::sync::Arc;

use kiln_builder::layout;
use kiln_cache::Lease;
use kiln_oci::layout::{IMAGE_NAME, INDEX_FILE, REF_NAME};
use kiln_oci::parse::{Document, parse_manifest};
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_sys::fs::Root;

use super::contexts::Contexts;
use super::failure;
use crate::{Engine, Error, Result};

/// The most bytes of an index.
const MAX_INDEX: u64 = 4 << 20;

impl Engine {
    /// Takes the image `digest` of the layout `root` into the store, as long as the lease lives. Waits for the disk.
    pub(super) fn take_image(&self, root: &Root, digest: &Digest) -> Result<Lease> {
        let lease = self.store().leases.create()?;
        let taken = layout::take(self.store(), root, digest, &lease);
        taken.map_err(|cause| failure::of_cause(&cause))?;
        Ok(lease)
    }

    /// Takes the image of `place`, `path[:tag|@digest]`, into the store, as long as `contexts` live; what it is called
    /// there.
    pub(super) fn import_layout(
        &self,
        name: &str,
        place: &str,
        contexts: &mut Contexts,
    ) -> Result<Reference> {
        let (path, wanted) = split(place)?;
        let root = open(Path::new(path))?;
        let found = find(&root, &wanted)?;
        contexts.leases.push(Arc::new(self.take_image(&root, &found.digest)?));
        reference(name, &found.digest)
    }
}

/// What an image that was taken for the context `name` is called.
pub(super) fn reference(name: &str, digest: &Digest) -> Result<Reference> {
    let reference = layout::reference(name, digest);
    reference.ok_or_else(|| Error::invalid(format!("`{digest}` cannot be referred to")))
}

/// The folder of a layout.
pub(super) fn open(path: &Path) -> Result<Root> {
    Root::open(path).map_err(|error| Error::not_found("cannot open the layout").caused_by(error))
}

/// Which image of a layout.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Only,
    Tag(String),
    Digest(Digest),
}

fn split(layout: &str) -> Result<(&str, Wanted)> {
    if let Some((path, digest)) = layout.rsplit_once('@') {
        let digest = digest.parse().map_err(|error| Error::invalid(format!("`{digest}`: {error}")))?;
        // A tag before a digest says nothing more.
        return Ok((without_tag(path).0, Wanted::Digest(digest)));
    }
    let (path, tag) = without_tag(layout);
    Ok((path, tag.map_or(Wanted::Only, |tag| Wanted::Tag(tag.to_owned()))))
}

fn without_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !tag.is_empty() => (path, Some(tag)),
        _ => (text, None),
    }
}

fn find(root: &Root, wanted: &Wanted) -> Result<Descriptor> {
    let failed = |error| Error::invalid("cannot read the layout's index").caused_by(error);
    let Some(bytes) = root.read_limited(INDEX_FILE, MAX_INDEX).map_err(failed)? else {
        return Err(Error::not_found(format!("there is no `{INDEX_FILE}`, so it is no OCI layout")));
    };
    let document = parse_manifest(&bytes, None);
    let Document::Index(index) =
        document.map_err(|error| Error::invalid(format!("the layout's index: {error}")))?
    else {
        return Err(Error::invalid("the layout's index is none"));
    };
    let called = |it: &Descriptor, tag: &str| {
        let name = |key: &str| it.annotations.get(key);
        let suffix = format!(":{tag}");
        name(REF_NAME).is_some_and(|name| name == tag || name.ends_with(&suffix))
            || name(IMAGE_NAME).is_some_and(|name| name.ends_with(&suffix))
    };
    let found = match wanted {
        Wanted::Digest(digest) => index.manifests.iter().find(|it| it.digest == *digest),
        Wanted::Tag(tag) => index.manifests.iter().find(|it| called(it, tag)),
        Wanted::Only => {
            index.manifests.iter().find(|it| called(it, "latest")).or(match &index.manifests[..] {
                [only] => Some(only),
                _ => None,
            })
        }
    };
    found.cloned().ok_or_else(|| {
        Error::not_found("there is no such image in the layout")
            .with_hint("`:TAG` or `@DIGEST` after the folder says which of several is meant")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_may_have_a_tag_or_a_digest() {
        let digest = Digest::of(b"x");
        assert_eq!(split("/a/b").unwrap(), ("/a/b", Wanted::Only));
        assert_eq!(split("a:1").unwrap(), ("a", Wanted::Tag("1".to_owned())));
        assert_eq!(split("/a:b/c").unwrap(), ("/a:b/c", Wanted::Only));
        assert_eq!(split(&format!("a:1@{digest}")).unwrap(), ("a", Wanted::Digest(digest)));
        assert!(split("a@sha256:1").is_err());
    }
}
