//! What a reference names at its registry: manifest and configuration, no layers yet.

use std::sync::Arc;

use futures_util::StreamExt;
use kiln_cache::{Lease, Resource};
use kiln_oci::media_type::Kind;
use kiln_oci::parse::{Document, MAX_INDEX_DEPTH};
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, MediaType, Platform, Reference};

use super::documents::{
    MAX_CONFIG, MAX_MANIFEST, broken, choose, manifest_of, parse_image_config, parse_root,
};
use super::{Image, report};
use crate::error::Cause;
use crate::progress::Reporter;
use crate::solver::blocking;
use crate::stores::Stores;

/// Finds the image that `reference` names for `platform`. A reference with a digest whose documents are in the store
/// asks nobody; one without always asks its registry.
pub async fn resolve(
    stores: &Arc<Stores>,
    reference: &Reference,
    platform: &Platform,
    reporter: &dyn Reporter,
) -> Result<Image, Cause> {
    let lease = stores.store.leases.create()?;
    let (root, bytes) = root_document(stores, reference, &lease).await?;
    let pinned = reference.with_digest(root.digest.clone());
    let (mut descriptor, mut found) = (root.clone(), parse_root(&pinned, &root, &bytes)?);
    for _ in 0..MAX_INDEX_DEPTH {
        let Document::Index(index) = &found else { break };
        descriptor = choose(&pinned, index, platform)?;
        let bytes = document(stores, &pinned, &descriptor, &lease).await?;
        found = parse_root(&pinned, &descriptor, &bytes)?;
    }
    let manifest = manifest_of(&pinned, found)?;
    let config = config(stores, &pinned, &manifest, &lease, reporter).await?;
    let image = Image { reference: pinned, root, descriptor, manifest, config };
    image.check()?;
    let (stores, remembered) = (stores.clone(), image.clone());
    blocking(move || remember(&stores, &remembered)).await?;
    Ok(image)
}

/// What the reference itself names, and its bytes.
async fn root_document(
    stores: &Arc<Stores>,
    reference: &Reference,
    lease: &Lease,
) -> Result<(Descriptor, Vec<u8>), Cause> {
    if let Some(digest) = reference.digest() {
        lease.hold(&Resource::Blob(digest.clone()))?;
        let content = &stores.store.content;
        if content.info(digest)?.is_some() {
            let bytes = content.read(digest, MAX_MANIFEST)?;
            let media_type = sniff(&bytes);
            return Ok((Descriptor::new(media_type, digest.clone(), bytes.len() as u64), bytes));
        }
    }
    let resolved = stores.client.resolve(reference).await?;
    lease.hold(&Resource::Blob(resolved.descriptor.digest.clone()))?;
    stores.store.content.put(resolved.descriptor.media_type.clone(), &resolved.bytes)?;
    Ok((resolved.descriptor, resolved.bytes.to_vec()))
}

/// The media type that a document of ours has.
fn sniff(bytes: &[u8]) -> MediaType {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    match value.get("mediaType").and_then(serde_json::Value::as_str) {
        Some(text) => MediaType::new(text),
        None if value.get("manifests").is_some() => MediaType::new(MediaType::OCI_INDEX),
        None => MediaType::new(MediaType::OCI_MANIFEST),
    }
}

/// The bytes of a manifest, from the store or from the registry.
async fn document(
    stores: &Arc<Stores>,
    reference: &Reference,
    descriptor: &Descriptor,
    lease: &Lease,
) -> Result<Vec<u8>, Cause> {
    lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
    let content = &stores.store.content;
    if content.info(&descriptor.digest)?.is_some() {
        return Ok(content.read(&descriptor.digest, MAX_MANIFEST)?);
    }
    let bytes = stores.client.manifest(reference, descriptor).await?;
    content.put(descriptor.media_type.clone(), &bytes)?;
    Ok(bytes.to_vec())
}

async fn config(
    stores: &Arc<Stores>,
    reference: &Reference,
    manifest: &Manifest,
    lease: &Lease,
    reporter: &dyn Reporter,
) -> Result<ImageConfig, Cause> {
    let descriptor = &manifest.config;
    if !matches!(descriptor.media_type.kind(), Kind::Config) {
        let kind = manifest.artifact_type.as_deref().unwrap_or(descriptor.media_type.as_str());
        return Err(broken(reference, &format!("it is no container image but `{kind}`")));
    }
    lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
    let content = &stores.store.content;
    if content.info(&descriptor.digest)?.is_some() {
        return parse_image_config(reference, &content.read(&descriptor.digest, MAX_CONFIG)?);
    }
    if descriptor.size > MAX_CONFIG {
        return Err(broken(reference, &format!("its configuration is larger than {MAX_CONFIG} bytes")));
    }
    let mut stream = stores.client.blob(reference, descriptor).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    report(reporter, &descriptor.digest, "downloading", descriptor.size, descriptor.size, true);
    let config = parse_image_config(reference, &bytes)?;
    content.put(descriptor.media_type.clone(), &bytes)?;
    Ok(config)
}

/// Remembers which blobs the layers are said to be, and where they can be had.
fn remember(stores: &Stores, image: &Image) -> Result<(), Cause> {
    for (diff_id, descriptor) in image.diff_ids().iter().zip(&image.manifest.layers) {
        stores.store.layers.add_blob(diff_id, descriptor)?;
    }
    let digests: Vec<Digest> = image.manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
    Ok(stores.store.sources.add(&image.source(), &digests)?)
}
