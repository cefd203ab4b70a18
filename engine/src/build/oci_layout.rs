//! Images of an OCI layout folder, taken into the store so that a build can use them like any other.

use std::path::Path;

use kiln_cache::{Lease, Resource};
use kiln_oci::layout::{IMAGE_NAME, INDEX_FILE, REF_NAME, blob_path};
use kiln_oci::parse::{Document, parse_manifest};
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_sys::fs::Root;

use super::contexts::Contexts;
use crate::{Engine, Error, Result};

/// The registry that such images seem to be at; nobody can have it (RFC 6761, 6.4).
const REGISTRY: &str = "oci-layout.invalid";
/// The most bytes of an index or a manifest.
const MAX_DOCUMENT: u64 = 4 << 20;
/// How deep indexes may be in indexes.
const MAX_DEPTH: usize = 4;

impl Engine {
    /// Takes the image of `layout`, `path[:tag|@digest]`, into the store, as long as `contexts` live; what it is called
    /// there.
    pub(super) fn import_layout(
        &self,
        name: &str,
        layout: &str,
        contexts: &mut Contexts,
    ) -> Result<Reference> {
        let (path, wanted) = split(layout)?;
        let root = Root::open(Path::new(path))
            .map_err(|error| Error::not_found("cannot open the layout").caused_by(error))?;
        let found = find(&root, &wanted)?;
        let lease = self.store().leases.create()?;
        self.take(&root, &found, &lease, 0)?;
        contexts.leases.push(std::sync::Arc::new(lease));
        // The name is for people: the digest says which image it is.
        let safe = name.replace(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()), "-");
        let text = format!("{REGISTRY}/{}@{}", safe.trim_matches('-'), found.digest);
        Ok(text.parse::<Reference>().or_else(|_| format!("{REGISTRY}/image@{}", found.digest).parse())?)
    }

    /// Takes a document and what it names. Of an index, what the layout has: it may hold one platform of many.
    fn take(&self, root: &Root, descriptor: &Descriptor, lease: &Lease, depth: usize) -> Result<()> {
        let malformed =
            |error: &dyn std::fmt::Display| Error::invalid(format!("`{}`: {error}", descriptor.digest));
        if descriptor.size > MAX_DOCUMENT || depth > MAX_DEPTH {
            return Err(malformed(&"the document is too large or too deep"));
        }
        self.take_blob(root, descriptor, lease)?;
        let bytes = self.store().content.read(&descriptor.digest, MAX_DOCUMENT)?;
        let document = parse_manifest(&bytes, Some(descriptor.media_type.as_str()));
        match document.map_err(|error| malformed(&error))? {
            Document::Manifest(manifest) => {
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    self.take_blob(root, blob, lease)?;
                }
                Ok(())
            }
            Document::Index(index) => {
                let has = |it: &&Descriptor| root.resolve(blob_path(&it.digest), true).is_ok();
                index.manifests.iter().filter(has).try_for_each(|it| self.take(root, it, lease, depth + 1))
            }
        }
    }

    /// Copies a blob into the store, verified, unless it is there.
    fn take_blob(&self, root: &Root, descriptor: &Descriptor, lease: &Lease) -> Result<()> {
        lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
        let content = &self.store().content;
        if content.info(&descriptor.digest)?.is_none() {
            let file = root.open_file(blob_path(&descriptor.digest)).map_err(|error| {
                Error::not_found(format!("the layout lacks `{}`", descriptor.digest)).caused_by(error)
            })?;
            content.copy_in(descriptor, file)?;
        }
        Ok(())
    }
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
    let Some(bytes) = root.read_limited(INDEX_FILE, MAX_DOCUMENT).map_err(failed)? else {
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
