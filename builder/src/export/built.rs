//! What exporters work on: the images of a build, one or one a platform.

use std::sync::Arc;

use kiln_cache::{Lease, Resource, Store};
use kiln_oci::{Compression, Descriptor, ImageConfig, Index, MediaType, Platform};

use super::image::{Form, compose, store_image};
use super::{Export, Exported, archive, files};
use crate::error::Cause;
use crate::value::Layers;

/// The result of a build.
pub(crate) struct Built {
    /// The images, in the order in which their platforms were asked for.
    pub(crate) images: Vec<Image>,
    /// Whether they become an index, and their files a folder each.
    pub(crate) multi_platform: bool,
    /// Replaces the times of what is new, in seconds.
    pub(crate) epoch: Option<i64>,
}

/// One image whose layers are known.
pub(crate) struct Image {
    /// What it is for.
    pub(crate) platform: Platform,
    /// Its filesystem.
    pub(crate) layers: Layers,
    /// Its configuration, without `diff_ids` and times.
    pub(crate) config: ImageConfig,
}

impl Image {
    /// The folder of its files: `linux_arm_v7`.
    pub(crate) fn folder(&self) -> String {
        self.platform.to_string().replace('/', "_")
    }
}

impl Built {
    /// Makes what `export` says; the image, where it is one.
    pub(crate) fn export(&self, store: &Arc<Store>, export: Export) -> Result<Option<Exported>, Cause> {
        match export {
            Export::Image { names } => {
                let lease = store.leases.create()?;
                let mut exported = self.documents(store, &lease, Form::AsStored)?;
                exported.names = store_image(store, &exported.manifest, &names)?;
                Ok(Some(exported))
            }
            Export::Oci { names, dest } | Export::Docker { names, dest } => {
                let lease = store.leases.create()?;
                let exported = self.documents(store, &lease, Form::Packed(Compression::Gzip))?;
                archive::save(store, &exported.manifest, &names, dest)?;
                Ok(Some(exported))
            }
            Export::Local { dest, split } => files::to_directory(store, self, &dest, split).map(|()| None),
            Export::Tar { dest } => files::to_tar(store, self, dest).map(|()| None),
            Export::CacheOnly => Ok(None),
        }
    }

    /// Makes and stores the documents: of the image, or of each image and the index of all.
    fn documents(&self, store: &Store, lease: &Lease, form: Form) -> Result<Exported, Cause> {
        let mut manifests = Vec::with_capacity(self.images.len());
        let mut id = None;
        for Image { platform, layers, config } in &self.images {
            let composed = compose(store, lease, layers, config, form, self.epoch)?;
            id.get_or_insert_with(|| composed.manifest.config.digest.clone());
            manifests.push(Descriptor { platform: Some(platform.clone()), ..composed.descriptor });
        }
        let (manifest, id) = match (self.multi_platform, id) {
            (false, Some(id)) => (Descriptor { platform: None, ..manifests.swap_remove(0) }, id),
            _ => {
                let index = put_index(store, lease, manifests)?;
                let id = index.digest.clone();
                (index, id)
            }
        };
        Ok(Exported { manifest, id, names: Vec::new() })
    }
}

fn put_index(store: &Store, lease: &Lease, manifests: Vec<Descriptor>) -> Result<Descriptor, Cause> {
    let bytes = Index::new(manifests).to_bytes();
    let descriptor = Descriptor::of(MediaType::OCI_INDEX, &bytes);
    lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
    store.content.put(descriptor.media_type.clone(), &bytes)?;
    Ok(descriptor)
}
