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
    /// The image that has this name here, by its digest. Blocking.
    pub fn image_here(&self, reference: &Reference, platform: &Platform) -> Result<Option<Reference>> {
        Ok(self.local_image(reference, platform)?.map(|found| found.reference))
    }

    fn local_image(&self, reference: &Reference, platform: &Platform) -> Result<Option<FoundImage>> {
        let stores = &self.stores();
        let Some(root) = stores.store.images.get(&reference.to_string())? else { return Ok(None) };
        let found = pull::local(stores, reference, &root, platform).ok();
        let found = found.filter(|found| found.config.platform.serves(platform).is_some());
        Ok(found.map(|found| FoundImage { reference: found.reference, config: found.config }))
    }

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
        let stores = &self.stores();
        if !ask && let Some(found) = self.local_image(&reference, platform)? {
            return Ok(found);
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
