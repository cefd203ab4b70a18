//! What exporters work on: the images of a build, one or one a platform.

use std::sync::{Arc, Mutex, PoisonError};

use kiln_cache::{Lease, Resource, Store};
use kiln_oci::{Descriptor, DiffId, ImageConfig, Index, MediaType, Platform};

use super::annotations::AnnotationLevel;
use super::image::{Composed, Writing, compose};
use super::layers::{Form, Reshape, layers};
use super::options::ImageOptions;
use super::{Export, Exported, history};
use crate::attest::attach::Attacher;
use crate::attest::{self, Attest, Attestation};
use crate::error::Cause;
use crate::value::Layers;

/// The result of a build.
pub(crate) struct Built {
    /// The images, in the order in which their platforms were asked for.
    pub(super) images: Vec<Image>,
    /// Whether they become an index, and their files a folder each.
    pub(super) multi_platform: bool,
    /// Replaces the times of what is new, in seconds.
    pub(super) epoch: Option<i64>,
    /// How statements hang on the images, and what those are called there.
    pub(super) attest: Attest,
    /// Keeps what is made until the exports are done.
    pub(super) lease: Lease,
    /// Whether some export packs layers: then all do, so that they have the same image.
    pub(super) packs: bool,
    /// Whether some export reads blobs, so that each must be in the store.
    pub(super) readable: bool,
    /// The images that were made so far, by how.
    made: Mutex<Vec<Made>>,
}

/// An image that was made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// How.
    options: ImageOptions,
    /// What points to it.
    pub(super) exported: Exported,
    /// The layers of each of its images.
    pub(super) chains: Vec<Vec<DiffId>>,
}

/// One image whose layers are known.
pub(crate) struct Image {
    /// What it is for.
    pub(crate) platform: Platform,
    /// Its filesystem.
    pub(crate) layers: Layers,
    /// How many of its layers are its base's.
    pub(crate) base: usize,
    /// Its configuration, without `diff_ids` and times.
    pub(crate) config: ImageConfig,
    /// What is said about it.
    pub(crate) attestations: Vec<Attestation>,
}

impl Image {
    /// The folder of its files: `linux_arm_v7`.
    pub(crate) fn folder(&self) -> String {
        self.platform.to_string().replace('/', "_")
    }
}

impl Built {
    /// What `images` become by `exports`.
    pub(crate) fn new(
        store: &Store,
        images: Vec<Image>,
        multi_platform: bool,
        epoch: Option<i64>,
        attest: Attest,
        exports: &[Export],
    ) -> Result<Built, Cause> {
        let packs = exports.iter().any(Export::packs);
        let readable = exports.iter().any(Export::reads_blobs);
        let (lease, made) = (store.leases.create()?, Mutex::default());
        Ok(Built { images, multi_platform, epoch, attest, lease, packs, readable, made })
    }

    /// The image, or the index of images, that `options` describe, its documents in the store. Exports that want the same get
    /// the same.
    pub(super) fn image(&self, store: &Arc<Store>, options: &ImageOptions) -> Result<Made, Cause> {
        let options = self.complete(options);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = made.iter().find(|made| made.options == options) {
            return Ok(found.clone());
        }
        let new = self.documents(store, options)?;
        made.push(new.clone());
        Ok(new)
    }

    /// The options as the build completes them, which are equal for the same image.
    fn complete(&self, options: &ImageOptions) -> ImageOptions {
        let says_something = self.images.iter().any(|image| !image.attestations.is_empty());
        let by_index = options.attestations_in_index || self.attest.form == attest::Form::Index;
        let attestations_in_index = says_something && by_index;
        // Names are no part of what an image is.
        ImageOptions { names: Vec::new(), attestations_in_index, ..options.clone() }
    }

    /// The layers that [`Built::image`] packs, none after another: each is named by the number of its image and its own, and
    /// goes with what is to become of it. Fails where that would fail before it packs anything.
    pub(super) fn packed(&self, options: &ImageOptions) -> Result<Vec<(usize, usize, Reshape)>, Cause> {
        let options = self.complete(options);
        self.check(&options)?;
        let mut packed = Vec::new();
        for (number, image) in self.images.iter().enumerate() {
            let (reshape, count) = (self.reshape(image, &options), image.layers.to_vec().len());
            let kept = reshape.kept(count).unwrap_or(count);
            let alone = if reshape.clamp.is_some() { kept.min(reshape.base) } else { kept };
            if reshape.form != Form::AsStored {
                packed.extend((0..alone).map(|index| (number, index, reshape)));
            }
        }
        Ok(packed)
    }

    /// Makes and stores the documents: of the image, or of each image and the index of all.
    fn documents(&self, store: &Arc<Store>, options: ImageOptions) -> Result<Made, Cause> {
        self.check(&options)?;
        let form = if options.attestations_in_index { attest::Form::Index } else { attest::Form::Referrers };
        let mut attacher = Attacher::new(store, &self.lease, &self.attest.names, form);
        let (mut manifests, mut chains, mut config) = (Vec::new(), Vec::new(), None);
        for image in &self.images {
            let (composed, chain) = self.compose(store, image, &options)?;
            chains.push(chain);
            attacher.add(&image.attestations, &image.platform, &composed.descriptor)?;
            config.get_or_insert(composed.manifest.config.digest);
            let platform = Some(image.platform.clone());
            let annotations = options.annotations.of(AnnotationLevel::ManifestDescriptor, platform.as_ref());
            manifests.push(Descriptor { platform, annotations, ..composed.descriptor });
        }
        manifests.extend(attacher.entries);
        let manifest = match &manifests[..] {
            [only] if !self.multi_platform => Descriptor { platform: None, ..only.clone() },
            _ => {
                config = None;
                put_index(store, &self.lease, manifests, &options)?
            }
        };
        let exported = Exported { manifest, config, names: Vec::new(), pushed: false };
        Ok(Made { options, exported, chains })
    }

    fn compose(
        &self,
        store: &Arc<Store>,
        image: &Image,
        options: &ImageOptions,
    ) -> Result<(Composed, Vec<DiffId>), Cause> {
        let epoch = options.epoch.or(self.epoch);
        let reshape = self.reshape(image, options);
        let diff_ids = image.layers.diff_ids();
        let mut config = image.config.clone();
        config.history = history::complete(store, &config, &diff_ids, epoch)?;
        if let Some(kept) = reshape.kept(diff_ids.len()) {
            history::squash(&mut config.history, kept, &diff_ids);
        }
        config.created = config.history.last().and_then(|entry| entry.created.clone()).or(config.created);
        let layers = layers(store, &self.lease, &image.layers, &reshape)?;
        let annotations = options.annotations.of(AnnotationLevel::Manifest, Some(&image.platform));
        let writing = Writing { oci_media_types: options.oci_media_types, annotations };
        let composed = compose(store, &self.lease, &layers, &config, &writing)?;
        Ok((composed, layers.into_iter().map(|layer| layer.diff_id).collect()))
    }

    fn reshape(&self, image: &Image, options: &ImageOptions) -> Reshape {
        let epoch = options.epoch.or(self.epoch);
        Reshape {
            form: self.form(options),
            clamp: epoch.filter(|_| options.rewrite_timestamp),
            squash: options.squash,
            base: image.base,
            readable: self.readable,
        }
    }

    fn form(&self, options: &ImageOptions) -> Form {
        match options.force_packing {
            true => Form::Repacked(options.packing()),
            false if self.packs || options.packing.is_some() => Form::Packed(options.packing()),
            false => Form::AsStored,
        }
    }

    /// Refuses annotations for what the build does not make, and statements where there is no place for them.
    fn check(&self, options: &ImageOptions) -> Result<(), Cause> {
        if options.attestations_in_index && !options.oci_media_types {
            let reason =
                "Docker's media types have none for attestations, so `oci-mediatypes=false` cannot be";
            return Err(Cause::Invalid(reason.to_owned()));
        }
        if options.annotations.need_an_index() && !self.multi_platform && !options.attestations_in_index {
            let reason = "the build is for one platform and makes no index, so an index cannot be annotated";
            return Err(Cause::Invalid(reason.to_owned()));
        }
        let known = |platform: &Platform| self.images.iter().any(|image| image.platform == *platform);
        let named = options.annotations.iter().filter_map(|annotation| annotation.platform.as_ref());
        match named.into_iter().find(|platform| !known(platform)) {
            Some(platform) => {
                Err(Cause::Invalid(format!("an annotation is for `{platform}`, which the build is not for")))
            }
            None => Ok(()),
        }
    }
}

fn put_index(
    store: &Store,
    lease: &Lease,
    manifests: Vec<Descriptor>,
    options: &ImageOptions,
) -> Result<Descriptor, Cause> {
    let media_type = if options.oci_media_types { MediaType::OCI_INDEX } else { MediaType::DOCKER_INDEX };
    let annotations = options.annotations.of(AnnotationLevel::Index, None);
    let index = Index { media_type: Some(media_type.into()), annotations, ..Index::new(manifests) };
    let bytes = index.to_bytes();
    let descriptor = Descriptor::of(media_type, &bytes);
    lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
    store.content.put(descriptor.media_type.clone(), &bytes)?;
    let annotations = options.annotations.of(AnnotationLevel::IndexDescriptor, None);
    Ok(Descriptor { annotations, ..descriptor })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U30: a base image says what it is for, and nobody checked that it is a platform.
    #[test]
    fn the_folder_of_a_platform_is_one_component_whatever_the_platform_says() {
        let folder = |os: &str, architecture: &str, variant: Option<&str>| {
            let platform = Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.map(str::to_owned),
                os_version: Some("../..".to_owned()),
            };
            let config = ImageConfig::empty(platform.clone());
            Image { platform, layers: Layers::scratch(), base: 0, config, attestations: Vec::new() }.folder()
        };
        assert_eq!(folder("linux", "arm", Some("v7")), "linux_arm_v7");
        for (os, architecture, variant) in [
            ("../../x", "../y", Some("/z")),
            ("..", "", None),
            ("", "..", None),
            ("/", "/", Some("..")),
            (".", ".", None),
        ] {
            let name = folder(os, architecture, variant);
            let mut components = std::path::Path::new(&name).components();
            assert!(matches!(components.next(), Some(std::path::Component::Normal(_))), "{name}");
            assert_eq!(components.next(), None, "{name}");
        }
    }
}
