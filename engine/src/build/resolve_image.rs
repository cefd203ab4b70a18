//! An image that somebody asks about before there is a build of it.

use kiln_builder::progress::StepReporter;
use kiln_builder::{ProgressSink, pull};
use kiln_oci::{ImageConfig, Platform, Reference};

use super::bases::Internal;
use super::failure;
use crate::{Engine, Result};

/// What an image is found to be.
#[derive(Debug, Clone)]
pub struct FoundImage {
    /// Its name with its digest.
    pub reference: Reference,
    /// Its configuration.
    pub config: ImageConfig,
}

impl Engine {
    /// Looks an image up, here and, where `ask` says so or it is not here, at its registry; shown as the step `number`
    /// named `shown`.
    pub async fn find_image(
        &self,
        reference: &str,
        platform: &Platform,
        ask: bool,
        (number, shown): (u32, String),
        progress: &dyn ProgressSink,
    ) -> Result<FoundImage> {
        let reference = reference.parse::<Reference>()?.with_default_tag();
        let stores = self.builder().stores();
        let here = match ask {
            true => None,
            false => stores.store.images.get(&reference.to_string())?,
        };
        if let Some(root) = here
            && let Ok(found) = pull::local(stores, &reference, &root, platform)
            && found.config.platform.serves(platform).is_some()
        {
            return Ok(FoundImage { reference: found.reference, config: found.config });
        }
        let step = Internal::start(progress, number, shown);
        let reporter = StepReporter { sink: progress, step: step.id() };
        let found = pull::resolve(stores, &reference, platform, &reporter).await;
        let found = found.map_err(|cause| {
            let mut error = failure::of_cause(&cause);
            error.message = format!("cannot get the image `{}`: {}", reference.familiar(), error.message);
            error
        });
        let found = step.end(found)?;
        Ok(FoundImage { reference: found.reference, config: found.config })
    }
}
