//! Changes to images: functions from one immutable image to another.

use crate::image::Image;
use crate::{Descriptor, DiffId, History, ImageConfig};

/// `image` with one more layer on top, and the instruction that made it.
pub fn append(image: &Image, layer: Descriptor, diff_id: DiffId, history: History) -> Image {
    let mut next = image.clone();
    next.manifest.layers.push(layer);
    next.config.rootfs.diff_ids.push(diff_id);
    next.config.history.push(history);
    with_config(&next, next.config.clone())
}

/// `image` with another configuration; the manifest points to it.
pub fn with_config(image: &Image, config: ImageConfig) -> Image {
    let mut manifest = image.manifest.clone();
    manifest.config = Descriptor::of(manifest.config.media_type.clone(), &config.to_bytes());
    Image { manifest, config }
}
