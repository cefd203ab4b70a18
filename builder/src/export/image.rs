//! An image of layers and a configuration, and its names in the store.

use std::collections::BTreeMap;

use kiln_cache::{Lease, Resource, Store};
use kiln_oci::media_type::Kind;
use kiln_oci::{Descriptor, ImageConfig, Manifest, MediaType, Reference};

use super::layers::ImageLayer;
use crate::error::Cause;

/// An image's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub bytes: Vec<u8>,
    /// What points to the manifest.
    pub descriptor: Descriptor,
    /// The configuration's bytes.
    pub config: Vec<u8>,
}

/// How documents are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// Media types of the OCI rather than those of Docker's schema 2.
    pub oci_media_types: bool,
    /// The manifest's annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Default for Writing {
    fn default() -> Self {
        Writing { oci_media_types: true, annotations: BTreeMap::new() }
    }
}

/// Makes the documents of an image and stores them. `config` is complete but for its `diff_ids`.
pub fn compose(
    store: &Store,
    lease: &Lease,
    layers: &[ImageLayer],
    config: &ImageConfig,
    writing: &Writing,
) -> Result<Composed, Cause> {
    let mut config = config.clone();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let config = config.to_bytes();
    let layers = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let (manifest, manifest_type) = match writing.oci_media_types {
        true => {
            let config = Descriptor::of(MediaType::OCI_CONFIG, &config);
            (Manifest::new(config, layers), MediaType::OCI_MANIFEST)
        }
        false => (docker_manifest(&config, layers), MediaType::DOCKER_MANIFEST),
    };
    let manifest = Manifest { annotations: writing.annotations.clone(), ..manifest };
    let bytes = manifest.to_bytes();
    let descriptor = Descriptor::of(manifest_type, &bytes);
    for (descriptor, bytes) in [(&manifest.config, &config), (&descriptor, &bytes)] {
        lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
        store.content.put(descriptor.media_type.clone(), bytes)?;
    }
    Ok(Composed { manifest, bytes, descriptor, config })
}

/// A manifest of Docker's schema 2 (distribution, manifest-v2-2.md).
fn docker_manifest(config: &[u8], layers: Vec<Descriptor>) -> Manifest {
    let typed = |layer: Descriptor| match layer.media_type.kind() {
        Kind::Layer(compression) => Descriptor { media_type: MediaType::docker_layer(compression), ..layer },
        _ => layer,
    };
    let config = Descriptor::of(MediaType::DOCKER_CONFIG, config);
    let manifest = Manifest::new(config, layers.into_iter().map(typed).collect());
    Manifest { media_type: Some(MediaType::DOCKER_MANIFEST.into()), ..manifest }
}

/// Gives the image (a manifest or an index) its names in the store, or adds it without a name.
pub fn store_image(store: &Store, image: &Descriptor, names: &[Reference]) -> Result<(), Cause> {
    // Adding waits for the disk; an image that is there already does not.
    let digest = image.digest.as_str();
    if names.is_empty() && !(store.images.find(digest).is_ok() && store.syncer.is_synced()?) {
        store.images.add(image)?;
    }
    for name in names {
        store.images.set(&name.to_string(), image)?;
    }
    Ok(())
}
