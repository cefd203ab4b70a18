//! Sending an image to its registry.

use std::sync::Arc;

use kiln_builder::push;
use kiln_oci::{Digest, Platform, Reference};

use super::Images;
use crate::build::failure;
use crate::progress::Reporter;
use crate::{Error, Result};

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedImage {
    /// Where it went.
    pub reference: Reference,
    /// The digest of the manifest that the registry has now.
    pub digest: Digest,
    /// Blobs that were there or came from another repository.
    pub reused: usize,
    /// Blobs that were sent.
    pub sent: usize,
    /// Platforms of its index whose images are not here, and so not in what the registry has now.
    pub left_out: Vec<Platform>,
}

impl Images<'_> {
    /// Sends the image of this name to the registry that the name says; of an index every image that is here, or that of
    /// `platform` alone.
    pub async fn push(
        &self,
        image: &str,
        platform: Option<&str>,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<PushedImage> {
        let platform: Option<Platform> = platform.map(str::parse).transpose()?;
        let reference = image.parse::<Reference>()?.with_default_tag();
        let Some(root) = self.engine.store().images.get(&reference.to_string())? else {
            let message = format!("no image is called `{}` here", reference.familiar());
            return Err(Error::not_found(message).with_hint("`kiln tag` gives an image a further name"));
        };
        let stores = &self.engine.stores();
        let pushed = push::push(stores, &root, &reference, platform.as_ref(), reporter).await;
        let pushed = pushed.map_err(|cause| {
            let mut error = failure::of_cause(&cause);
            error.message = format!("cannot push `{}`: {}", reference.familiar(), error.message);
            error
        })?;
        let counts = pushed.counts;
        Ok(PushedImage {
            reference,
            digest: pushed.descriptor.digest,
            reused: counts.existed + counts.mounted,
            sent: counts.uploaded,
            left_out: pushed.left_out,
        })
    }
}
