//! Finding an image in the store, and its documents.

use kiln_cache::{Image, Store};
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, parse};

use super::variants::{Variant, Variants};
use super::{ImageSummary, Images, Listed};
use crate::{Error, ErrorKind, Result};

/// An image of the store with its documents.
#[derive(Debug, Clone)]
pub(crate) struct StoredImage {
    /// The digest of its configuration.
    pub(crate) id: Digest,
    /// What its names mean: its manifest, or the index that has it.
    pub(crate) descriptor: Descriptor,
    /// The digest of its manifest.
    pub(crate) manifest_digest: Digest,
    /// The manifest, of the platform that was asked for where there are several.
    pub(crate) manifest: Manifest,
    /// The configuration.
    pub(crate) config: ImageConfig,
    /// Its names.
    pub(crate) names: Vec<Reference>,
    /// What it is for.
    pub(crate) platform: Platform,
    /// All images that its names stand for.
    pub(crate) variants: Variants,
}

impl Images<'_> {
    /// The image that people mean by `text`: a name, `latest` where it has no tag, or an id or its beginning. Of an index
    /// this machine's image, or the first that is here.
    pub(crate) fn find(&self, text: &str) -> Result<StoredImage> {
        self.find_for(text, None)
    }

    /// The same for a platform; fails where the image is not here for that one.
    pub(crate) fn find_for(&self, text: &str, platform: Option<&str>) -> Result<StoredImage> {
        let platform: Option<Platform> = platform.map(str::parse).transpose()?;
        let image = match self.look_up(text) {
            Err(error) if error.kind == ErrorKind::NotFound => {
                return self.find_within(text, platform.as_ref())?.ok_or(error);
            }
            found => found?,
        };
        let variants = Variants::of(self.engine.store(), &image.descriptor)?;
        match variants.choose(platform.as_ref()).cloned() {
            Some(chosen) => Ok(StoredImage::new(&image, variants, chosen)),
            None => Err(not_for(text, platform.as_ref(), &variants)),
        }
    }

    /// The image of an index that has `text` as its id, or as the beginning of it where no other has.
    fn find_within(&self, text: &str, platform: Option<&Platform>) -> Result<Option<StoredImage>> {
        let Some(hex) = hex_of(text) else { return Ok(None) };
        let is_meant = |variant: &&Variant| {
            variant.id().hex().starts_with(hex)
                && platform.is_none_or(|wanted| variant.platform.serves(wanted).is_some())
        };
        let mut found: Vec<StoredImage> = Vec::new();
        for image in self.engine.store().images.list()? {
            let variants = Variants::of(self.engine.store(), &image.descriptor)?;
            let meant = variants.here.iter().filter(is_meant);
            found.extend(meant.map(|chosen| StoredImage::new(&image, variants.clone(), chosen.clone())));
        }
        match &found[..] {
            [first, others @ ..] if others.iter().any(|other| other.id != first.id) => {
                Err(Error::invalid(format!("`{text}` is the beginning of several ids")))
            }
            _ => Ok(found.into_iter().next()),
        }
    }

    /// Every image of the store. One of which no manifest is here is left out.
    pub(super) fn all(&self) -> Result<Vec<StoredImage>> {
        let store = self.engine.store();
        let mut all = Vec::new();
        for image in store.images.list()?.iter().filter(|image| image.config.is_some()) {
            let variants = Variants::of(store, &image.descriptor)?;
            if let Some(chosen) = variants.choose(None).cloned() {
                all.push(StoredImage::new(image, variants, chosen));
            }
        }
        Ok(all)
    }

    /// The store's entry of an image.
    pub(super) fn look_up(&self, text: &str) -> Result<Image> {
        let images = &self.engine.store().images;
        if let Some(name) = full_name(text)
            && images.get(&name)?.is_some()
        {
            return Ok(images.find(&name)?);
        }
        if hex_of(text).is_none() {
            return Err(no_such_image(text));
        }
        images
            .find(text)
            .map_err(|error| if error.is_not_found() { no_such_image(text) } else { error.into() })
    }
}

impl StoredImage {
    fn new(image: &Image, variants: Variants, chosen: Variant) -> StoredImage {
        StoredImage {
            id: chosen.id().clone(),
            descriptor: image.descriptor.clone(),
            manifest_digest: chosen.descriptor.digest,
            manifest: chosen.manifest,
            config: chosen.config,
            platform: chosen.platform,
            names: image.names.iter().filter_map(|name| name.parse().ok()).collect(),
            variants,
        }
    }

    /// Whether it is for another machine while its index has one for this machine, which is not here.
    pub(super) fn is_foreign_for_now(&self) -> bool {
        let host = Platform::host();
        self.platform.serves(&host).is_none() && self.variants.lacks(&host)
    }

    /// Whether `id` is the id of one of its images.
    pub(super) fn has_id(&self, id: &str) -> bool {
        self.variants.here.iter().any(|variant| variant.id().as_str() == id)
    }

    pub(super) fn summary(&self, store: &Store) -> Result<ImageSummary> {
        Ok(ImageSummary {
            id: self.id.clone(),
            names: self.names.clone(),
            digest: self.descriptor.digest.clone(),
            created: self.config.created.clone(),
            size: self.layer_sizes(store)?.iter().sum(),
            labels: self.config.config.labels.clone(),
            platforms: self.variants.here.iter().map(|variant| variant.platform.clone()).collect(),
        })
    }

    /// The images of its index; none where it is an image by itself.
    pub(super) fn listed(&self) -> Vec<Listed> {
        if self.variants.here.iter().any(|variant| variant.descriptor.digest == self.descriptor.digest) {
            return Vec::new();
        }
        let here = self.variants.here.iter().map(|variant| Listed {
            platform: Some(variant.platform.clone()),
            descriptor: variant.descriptor.clone(),
            is_here: true,
        });
        let missing = self.variants.missing.iter().map(|entry| Listed {
            platform: entry.platform.clone(),
            descriptor: entry.clone(),
            is_here: false,
        });
        here.chain(missing).collect()
    }

    /// Bytes of each layer, unpacked; packed where it was never unpacked here.
    pub(super) fn layer_sizes(&self, store: &Store) -> Result<Vec<u64>> {
        let layers = store.layers.get(&self.config.rootfs.diff_ids)?;
        Ok(match layers {
            Some(layers) => layers.iter().map(|layer| layer.size).collect(),
            None => self.manifest.layers.iter().map(|layer| layer.size).collect(),
        })
    }
}

/// The digits of an id or of its beginning.
fn hex_of(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then_some(hex)
}

/// The store's key for a name that people type; nothing where it is none, as an id.
pub(super) fn full_name(text: &str) -> Option<String> {
    let reference: Reference = text.parse().ok()?;
    Some(reference.with_default_tag().to_string())
}

pub(super) fn no_such_image(name: &str) -> Error {
    Error::not_found(format!("no image `{name}` here"))
        .with_hint("`kiln images` lists those that are, `kiln pull` fetches")
}

/// The image is here, and not for the platform that is wanted.
fn not_for(name: &str, platform: Option<&Platform>, variants: &Variants) -> Error {
    let here: Vec<String> = variants.here.iter().map(|variant| format!("`{}`", variant.platform)).collect();
    match platform {
        Some(platform) if !here.is_empty() => Error::not_found(format!(
            "the image `{name}` is here for {} and not for `{platform}`",
            here.join(", ")
        ))
        .with_hint(format!("`kiln pull --platform {platform} {name}` fetches that")),
        _ => Error::not_found(format!("no manifest of the image `{name}` is here"))
            .with_hint("`kiln pull` fetches it again"),
    }
}

pub(super) fn broken(digest: &Digest, error: parse::ParseError) -> Error {
    Error::internal(format!("the document `{digest}` in the store is broken"), error)
        .with_hint("`kiln system check --repair` removes what is broken")
}
