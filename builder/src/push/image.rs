//! One image to its registry: layers and configuration, then the manifest.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use kiln_cache::{Lease, Resource, Source};
use kiln_oci::compression::Packing;
use kiln_oci::media_type::Kind;
use kiln_oci::{Compression, Descriptor, Digest, Manifest, MediaType, Reference};
use kiln_registry_client::Pushed;

use super::blob::{Stored, push_blob};
use super::{Plain, ahead};
use crate::error::Cause;
use crate::progress::Reporter;
use crate::pull::{self, Image};
use crate::stores::Stores;

/// How many blobs are packed and sent at once.
const PARALLEL: usize = 4;

/// What an image is sent with.
pub(super) struct Sending<'a> {
    pub(super) stores: &'a Arc<Stores>,
    pub(super) lease: &'a Arc<Lease>,
    pub(super) plain: Plain,
    /// The layers that came to the registry while they were packed.
    pub(super) sent: &'a HashMap<Digest, Pushed>,
    pub(super) reporter: &'a Arc<dyn Reporter>,
}

/// An image that its registry has now.
pub(super) struct PushedImage {
    /// What points to its manifest there.
    pub(super) descriptor: Descriptor,
    /// How each of its blobs came to be there.
    pub(super) blobs: Vec<Pushed>,
}

impl Sending<'_> {
    /// Sends an image to `target`: under its tag, or under the manifest's digest where it has none. What points to the
    /// manifest as it is there.
    pub(super) async fn push(&self, image: &Image, target: &Reference) -> Result<PushedImage, Cause> {
        self.lease.hold(&Resource::Blob(image.descriptor.digest.clone()))?;
        self.lease.hold(&Resource::Blob(image.manifest.config.digest.clone()))?;
        let count = image.manifest.layers.len();
        let pushing = stream::iter(0..count).map(|index| self.layer(image, index, target));
        let pushed: Vec<(Descriptor, Pushed)> = pushing.buffered(PARALLEL).try_collect().await?;
        let config = &image.manifest.config;
        let stored = Arc::new(Stored::new(self.stores, config, self.reporter));
        let of_config = push_blob(self.stores, target, &stored).await?;
        let (layers, mut blobs): (Vec<Descriptor>, Vec<Pushed>) = pushed.into_iter().unzip();
        blobs.push(of_config);
        remember(self.stores, target, config, &layers)?;
        let (media_type, bytes) = manifest(self.stores, image, layers)?;
        let descriptor = self.stores.client.push_manifest(target, &media_type, bytes.into()).await?;
        Ok(PushedImage { descriptor, blobs })
    }

    /// Packs the layer where it is not packed yet, and makes the registry have it.
    async fn layer(
        &self,
        image: &Image,
        index: usize,
        target: &Reference,
    ) -> Result<(Descriptor, Pushed), Cause> {
        let descriptor = image.manifest.layers[index].clone();
        let (packed, sent) = match descriptor.media_type.kind() {
            Kind::Layer(Compression::Uncompressed) if self.plain == Plain::Packed => {
                self.pack(image, index, target).await?
            }
            _ => (descriptor, None),
        };
        self.lease.hold(&Resource::Blob(packed.digest.clone()))?;
        if let Some(pushed) = sent.or(self.sent.get(&packed.digest).copied()) {
            return Ok((packed, pushed));
        }
        let blob = Arc::new(Stored::new(self.stores, &packed, self.reporter));
        let pushed = match push_blob(self.stores, target, &blob).await {
            // A layer of a base that no step of the build read: it is fetched only where the registry must be sent it.
            Err(_) if blob.was_missed() => {
                pull::fetch_blob(self.stores, image, index, self.lease, self.reporter.as_ref()).await?;
                push_blob(self.stores, target, &blob).await?
            }
            result => result?,
        };
        Ok((packed, pushed))
    }

    /// Packs a layer, and sends it meanwhile if it is large.
    async fn pack(
        &self,
        image: &Image,
        index: usize,
        target: &Reference,
    ) -> Result<(Descriptor, Option<Pushed>), Cause> {
        let (store, lease) = (self.stores.store.clone(), self.lease.clone());
        let chain = image.config.rootfs.diff_ids.clone();
        let item = chain[index].to_string();
        ahead::pack(self.stores, Some(target), &item, self.reporter, move |watch| {
            let packing = Packing::of(Compression::Gzip);
            let packed = store.layers.watched_blob_of(&lease, &chain, index, packing, watch)?;
            Ok(Descriptor::new(MediaType::layer(Compression::Gzip), packed.digest, packed.size))
        })
        .await
    }
}

/// The manifest as the registry gets it: the very bytes of the store where no layer had to be packed.
fn manifest(stores: &Stores, image: &Image, layers: Vec<Descriptor>) -> Result<(MediaType, Vec<u8>), Cause> {
    if layers == image.manifest.layers {
        let media_type =
            image.manifest.media_type.clone().unwrap_or_else(|| image.descriptor.media_type.clone());
        return Ok((media_type, stores.store.content.read(&image.descriptor.digest, image.descriptor.size)?));
    }
    let manifest = Manifest { layers, ..image.manifest.clone() };
    let bytes = manifest.to_bytes();
    let media_type = manifest.media_type.unwrap_or_else(|| MediaType::new(MediaType::OCI_MANIFEST));
    stores.store.content.put(media_type.clone(), &bytes)?;
    Ok((media_type, bytes))
}

fn remember(
    stores: &Stores,
    target: &Reference,
    config: &Descriptor,
    layers: &[Descriptor],
) -> Result<(), Cause> {
    let source =
        Source { registry: target.registry().to_owned(), repository: target.repository().to_owned() };
    let digests: Vec<_> = layers.iter().chain([config]).map(|blob| blob.digest.clone()).collect();
    Ok(stores.store.sources.add(&source, &digests)?)
}
