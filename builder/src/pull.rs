//! Images from registries: what a reference names, and its layers, fetched when they are needed.

mod attest;
mod documents;
mod layers;
mod resolve;

use std::sync::Arc;

use kiln_cache::{Resource, Source};
use kiln_oci::media_type::Kind;
use kiln_oci::{Descriptor, DiffId, Digest, ImageConfig, Manifest, Platform, Reference};

use crate::error::Cause;
use crate::progress::{EventKind, Reporter, Transfer};
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::Layers;

use documents::broken;
pub use documents::local;
pub(crate) use documents::{document_of, has_image};
pub(crate) use layers::fetch_blob;
pub use layers::{fetch, unpack};
pub use resolve::resolve;

/// An image whose manifest and configuration are known; its layers may be anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it is, with the digest of what was named.
    pub reference: Reference,
    /// What was named: a manifest, or an index that has one.
    pub root: Descriptor,
    /// The manifest of the platform.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

impl Image {
    /// The layers, whether they are here or not.
    pub fn layers(&self) -> Layers {
        Layers::of_image(Arc::new(self.clone()))
    }

    fn diff_ids(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }

    fn source(&self) -> Source {
        Source {
            registry: self.reference.registry().to_owned(),
            repository: self.reference.repository().to_owned(),
        }
    }
}

impl Image {
    fn check(&self) -> Result<(), Cause> {
        let (layers, diff_ids) = (self.manifest.layers.len(), self.diff_ids().len());
        if layers != diff_ids {
            let reason = format!("its manifest has {layers} layers and its configuration {diff_ids}");
            return Err(broken(&self.reference, &reason));
        }
        match self.manifest.layers.iter().find(|layer| !matches!(layer.media_type.kind(), Kind::Layer(_))) {
            Some(layer) => Err(broken(
                &self.reference,
                &format!("layers of type `{}` are not supported", layer.media_type),
            )),
            None => Ok(()),
        }
    }
}

/// What a pull did.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// Whether the name meant something else before, or nothing.
    pub changed: bool,
}

/// Makes the image that `reference` names be in the store, unpacked and under its name.
pub async fn pull(
    stores: &Arc<Stores>,
    reference: &Reference,
    platform: &Platform,
    reporter: &dyn Reporter,
) -> Result<Pulled, Cause> {
    let image = resolve(stores, reference, platform, reporter).await?;
    let lease = Arc::new(stores.store.leases.create()?);
    for digest in [&image.root.digest, &image.descriptor.digest, &image.manifest.config.digest] {
        lease.hold(&Resource::Blob(digest.clone()))?;
    }
    let (fetched, attested) =
        futures_util::join!(fetch(stores, &image, &lease, reporter), attest::fetch(stores, &image, &lease));
    fetched?;
    if let Err(error) = attested {
        tracing::info!(%error, "what is said about the image was not fetched");
    }
    let (store, root) = (stores.store.clone(), image.root.clone());
    let name = reference.clone().with_default_tag();
    let changed = blocking(move || {
        let tagged = name.tag().is_some();
        let name = if tagged { name.without_digest() } else { name };
        let before = store.images.get(&name.to_string())?;
        store.images.set(&name.to_string(), &root)?;
        drop(lease);
        Ok(before.is_none_or(|before| before.digest != root.digest))
    });
    Ok(Pulled { changed: changed.await?, image })
}

fn report(
    reporter: &dyn Reporter,
    item: &Digest,
    action: &'static str,
    current: u64,
    total: u64,
    done: bool,
) {
    let item = item.to_string();
    reporter.report(EventKind::Transfer(Transfer { item, action, current, total: Some(total), done }));
}
