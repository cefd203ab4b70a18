//! Changes to images: functions from one immutable image to another.

use crate::{Descriptor, DiffId, History, Image, ImageConfig};

/// `image` with one more layer on top, made by the instruction in `history`.
pub fn append(image: &Image, layer: Descriptor, diff_id: DiffId, history: History) -> Image {
    let mut next = image.clone();
    next.manifest.layers.push(layer);
    next.config.rootfs.diff_ids.push(diff_id);
    next.config.history.push(history);
    repoint(next)
}

/// `image` with another configuration, which must have the same layers; the manifest points to it.
pub fn with_config(image: &Image, config: ImageConfig) -> Image {
    repoint(Image { manifest: image.manifest.clone(), config })
}

/// `image` with another time of making.
pub fn with_created(image: &Image, created: &str) -> Image {
    let mut config = image.config.clone();
    config.created = Some(created.to_owned());
    with_config(image, config)
}

/// `image` with its layers in another form: the same content, compressed otherwise.
///
/// `None` where the number of layers differs.
pub fn with_layers(image: &Image, layers: Vec<Descriptor>) -> Option<Image> {
    let mut next = image.clone();
    next.manifest.layers = layers;
    (next.manifest.layers.len() == image.manifest.layers.len()).then_some(next)
}

/// Makes the manifest point to the configuration as it now is.
pub(crate) fn repoint(mut image: Image) -> Image {
    let media_type = image.manifest.config.media_type.clone();
    image.manifest.config = Descriptor::of(media_type, &image.config.to_bytes());
    image
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Digest, Manifest, MediaType, Platform};

    /// An image without layers.
    pub(crate) fn empty() -> Image {
        let config = ImageConfig::empty(Platform::new("linux", "amd64", None));
        let descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config.to_bytes());
        Image { manifest: Manifest::new(descriptor, Vec::new()), config }
    }

    /// `image` with a layer called `name`.
    pub(crate) fn with(image: &Image, name: &str) -> Image {
        let layer = Descriptor::of(MediaType::OCI_LAYER_GZIP, name.as_bytes());
        let history = History { created_by: Some(name.to_owned()), ..History::default() };
        append(image, layer, DiffId(Digest::of(name.as_bytes())), history)
    }

    #[test]
    fn the_manifest_always_points_to_the_configuration() {
        let image = with_created(&with(&empty(), "a"), "2026-01-01T00:00:00Z");
        assert_eq!(image.manifest.config.digest, Digest::of(&image.config.to_bytes()));
        assert_eq!(image.manifest.config.size, image.config.to_bytes().len() as u64);
    }
}
