//! Finding an image in the store, and its documents.

use kiln_cache::{Image, Store};
use kiln_oci::parse::{self, Document, parse_config, parse_manifest};
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference};

use super::{ImageSummary, Images};
use crate::{Error, ErrorKind, Result};

/// An image of the store with its documents.
#[derive(Debug, Clone)]
pub(crate) struct StoredImage {
    /// The digest of its configuration.
    pub(crate) id: Digest,
    /// Its manifest or index.
    pub(crate) descriptor: Descriptor,
    /// The manifest's bytes.
    pub(crate) manifest_bytes: Vec<u8>,
    /// The manifest, of this machine's platform where there are several.
    pub(crate) manifest: Manifest,
    /// The configuration.
    pub(crate) config: ImageConfig,
    /// Its names.
    pub(crate) names: Vec<Reference>,
}

impl Images<'_> {
    /// The image that people mean by `text`: a name, `latest` where it has no tag, or an id or its beginning.
    pub(crate) fn find(&self, text: &str) -> Result<StoredImage> {
        self.read(&self.look_up(text)?)
    }

    /// The store's entry of an image.
    pub(super) fn look_up(&self, text: &str) -> Result<Image> {
        let images = &self.engine.store().images;
        if let Some(name) = full_name(text)
            && images.get(&name)?.is_some()
        {
            return Ok(images.find(&name)?);
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(no_such_image(text));
        }
        images
            .find(text)
            .map_err(|error| if error.is_not_found() { no_such_image(text) } else { error.into() })
    }

    pub(super) fn read(&self, image: &Image) -> Result<StoredImage> {
        let (manifest_bytes, manifest) = self.manifest(&image.descriptor, &Platform::host(), 0)?;
        let config = self.document(&manifest.config.digest, parse::MAX_CONFIG)?;
        let config = parse_config(&config).map_err(|error| broken(&manifest.config.digest, error))?;
        Ok(StoredImage {
            id: manifest.config.digest.clone(),
            descriptor: image.descriptor.clone(),
            manifest_bytes,
            manifest,
            config,
            names: image.names.iter().filter_map(|name| name.parse().ok()).collect(),
        })
    }

    fn manifest(&self, root: &Descriptor, platform: &Platform, depth: usize) -> Result<(Vec<u8>, Manifest)> {
        let bytes = self.document(&root.digest, parse::MAX_MANIFEST)?;
        let document = parse_manifest(&bytes, Some(root.media_type.as_str()));
        match document.map_err(|error| broken(&root.digest, error))? {
            Document::Manifest(manifest) => Ok((bytes, manifest)),
            Document::Index(_) if depth == parse::MAX_INDEX_DEPTH => Err(Error::new(
                ErrorKind::Internal,
                format!("the index `{}` is nested too deep", root.digest),
            )),
            Document::Index(index) => match index.select(platform) {
                Some(chosen) => self.manifest(chosen, platform, depth + 1),
                None => Err(Error::not_found(format!("the image `{}` is not for `{platform}`", root.digest))),
            },
        }
    }

    fn document(&self, digest: &Digest, limit: usize) -> Result<Vec<u8>> {
        Ok(self.engine.store().content.read(digest, limit as u64)?)
    }
}

impl StoredImage {
    pub(super) fn summary(&self, store: &Store) -> Result<ImageSummary> {
        Ok(ImageSummary {
            id: self.id.clone(),
            names: self.names.clone(),
            digest: self.descriptor.digest.clone(),
            created: self.config.created.clone(),
            size: self.layer_sizes(store)?.iter().sum(),
            labels: self.config.config.labels.clone(),
        })
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

/// The store's key for a name that people type; nothing where it is none, as an id.
pub(super) fn full_name(text: &str) -> Option<String> {
    let reference: Reference = text.parse().ok()?;
    Some(reference.with_default_tag().to_string())
}

pub(super) fn no_such_image(name: &str) -> Error {
    Error::not_found(format!("no image `{name}` here"))
        .with_hint("`kiln images` lists those that are, `kiln pull` fetches")
}

fn broken(digest: &Digest, error: parse::ParseError) -> Error {
    Error::internal(format!("the document `{digest}` in the store is broken"), error)
        .with_hint("`kiln system check --repair` removes what is broken")
}
