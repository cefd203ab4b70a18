//! Statements about an image come with it, where its registry has some. A pull does not fail for want of them.

use kiln_cache::{Lease, Resource};
use kiln_oci::parse::{Document, parse_manifest};
use kiln_oci::{Descriptor, Index, Manifest};

use super::Image;
use super::documents::{MAX_MANIFEST, document_of};
use crate::attest::manifest::attested;
use crate::attest::statement::{IN_TOTO, MAX_STATEMENT};
use crate::error::Cause;
use crate::stores::Stores;

/// The most statements about one image that come with it.
const MAX_STATEMENTS: usize = 16;

/// Fetches what an image's index lists about it, and what refers to it.
pub(super) async fn fetch(stores: &Stores, image: &Image, lease: &Lease) -> Result<(), Cause> {
    if let Document::Index(index) = document_of(stores, &image.reference, &image.root)? {
        for entry in about(&index, image) {
            artifact(stores, image, entry, lease).await?;
        }
    }
    let (reference, subject) = (&image.reference, &image.descriptor.digest);
    let found = stores.client.referrers(reference, subject, Some(IN_TOTO)).await?;
    for referrer in found.iter().take(MAX_STATEMENTS) {
        artifact(stores, image, referrer, lease).await?;
        stores.store.referrers.add(subject, referrer)?;
    }
    Ok(())
}

fn about<'a>(index: &'a Index, image: &'a Image) -> impl Iterator<Item = &'a Descriptor> {
    let is_about = |entry: &&Descriptor| attested(entry).as_ref() == Some(&image.descriptor.digest);
    index.manifests.iter().filter(is_about).take(MAX_STATEMENTS)
}

/// Fetches an artifact and its statements.
async fn artifact(stores: &Stores, image: &Image, entry: &Descriptor, lease: &Lease) -> Result<(), Cause> {
    lease.hold(&Resource::Blob(entry.digest.clone()))?;
    let content = &stores.store.content;
    let bytes = match content.info(&entry.digest)? {
        Some(_) => content.read(&entry.digest, MAX_MANIFEST)?,
        None => stores.client.manifest(&image.reference, entry).await?.to_vec(),
    };
    let Ok(Document::Manifest(Manifest { config, layers, .. })) = parse_manifest(&bytes, None) else {
        return Ok(());
    };
    if layers.len() > MAX_STATEMENTS {
        return Ok(());
    }
    for blob in layers.iter().chain([&config]) {
        lease.hold(&Resource::Blob(blob.digest.clone()))?;
        if content.info(&blob.digest)?.is_none() {
            let bytes = stores.client.blob_bytes(&image.reference, blob, MAX_STATEMENT).await?;
            content.put(blob.media_type.clone(), &bytes)?;
        }
    }
    // Last: a manifest that is here has everything that it names.
    content.put(entry.media_type.clone(), &bytes)?;
    Ok(())
}
