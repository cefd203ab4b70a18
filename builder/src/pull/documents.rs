//! The documents of images that are in the store, and the way from an index to a manifest.

use std::collections::BTreeSet;

use kiln_oci::media_type::Kind;
use kiln_oci::parse::{Document, MAX_INDEX_DEPTH, parse_config, parse_manifest};
use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference};

use super::Image;
use crate::error::Cause;
use crate::stores::Stores;

/// The most bytes of a manifest or index.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;
/// The most bytes of an image configuration.
pub(super) const MAX_CONFIG: u64 = 8 << 20;

/// The image that a descriptor of the store names, without asking anybody.
pub fn local(
    stores: &Stores,
    reference: &Reference,
    root: &Descriptor,
    platform: &Platform,
) -> Result<Image, Cause> {
    let content = &stores.store.content;
    let reference = reference.with_digest(root.digest.clone());
    let (mut descriptor, mut found) = (root.clone(), document_of(stores, &reference, root)?);
    for _ in 0..MAX_INDEX_DEPTH {
        let Document::Index(index) = &found else { break };
        descriptor = choose(&reference, index, platform)?;
        found = document_of(stores, &reference, &descriptor)?;
    }
    let manifest = manifest_of(&reference, found)?;
    let config = parse_image_config(&reference, &content.read(&manifest.config.digest, MAX_CONFIG)?)?;
    let image = Image { reference, root: root.clone(), descriptor, manifest, config };
    image.check()?;
    Ok(image)
}

/// The manifest or index that a descriptor of the store names.
pub(crate) fn document_of(
    stores: &Stores,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Document, Cause> {
    parse_root(reference, descriptor, &stores.store.content.read(&descriptor.digest, MAX_MANIFEST)?)
}

/// Whether the documents of an image, or an index, are in the store.
pub(crate) fn has_image(stores: &Stores, reference: &Reference, entry: &Descriptor) -> bool {
    let has = |digest: &Digest| stores.store.content.info(digest).is_ok_and(|info| info.is_some());
    has(&entry.digest)
        && match document_of(stores, reference, entry) {
            Ok(Document::Manifest(manifest)) => has(&manifest.config.digest),
            Ok(Document::Index(_)) => true,
            Err(_) => false,
        }
}

pub(super) fn parse_root(
    reference: &Reference,
    descriptor: &Descriptor,
    bytes: &[u8],
) -> Result<Document, Cause> {
    parse_manifest(bytes, Some(descriptor.media_type.as_str()))
        .map_err(|error| broken(reference, &error.to_string()))
}

pub(super) fn parse_image_config(reference: &Reference, bytes: &[u8]) -> Result<ImageConfig, Cause> {
    parse_config(bytes).map_err(|error| broken(reference, &error.to_string()))
}

/// The manifest at which following indexes ended.
pub(super) fn manifest_of(reference: &Reference, found: Document) -> Result<Manifest, Cause> {
    match found {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => {
            Err(broken(reference, &format!("its indexes are nested deeper than {MAX_INDEX_DEPTH} levels")))
        }
    }
}

/// The image for `platform`, or an index that does not say what it is for.
pub(super) fn choose(reference: &Reference, index: &Index, platform: &Platform) -> Result<Descriptor, Cause> {
    let is_open =
        |entry: &&Descriptor| entry.platform.is_none() && matches!(entry.media_type.kind(), Kind::Index);
    if let Some(descriptor) = index.select(platform).or_else(|| index.manifests.iter().find(is_open)) {
        return Ok(descriptor.clone());
    }
    let known = index.manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
    let known: BTreeSet<String> = known.filter(|it| it.os != "unknown").map(ToString::to_string).collect();
    let hint = match known.is_empty() {
        true => "the index names no platforms".to_owned(),
        false => format!("it is there for {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let reason = format!("there is no image for platform `{platform}`");
    Err(Cause::Image { reference: reference.familiar(), reason, hint: Some(hint) })
}

pub(super) fn broken(reference: &Reference, reason: &str) -> Cause {
    Cause::Image { reference: reference.familiar(), reason: reason.to_owned(), hint: None }
}
