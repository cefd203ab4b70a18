//! Builds: a Dockerfile and a context to an image.

use kiln_oci::{ImageConfig, Platform};

use crate::{Error, Result};

/// The configuration that Dockerfile instructions make on nothing, for `import`.
pub(crate) fn config_of_changes(changes: &[String], platform: &Platform) -> Result<ImageConfig> {
    if !changes.is_empty() {
        return Err(Error::not_implemented("`--change`"));
    }
    Ok(ImageConfig::empty(platform.clone()))
}
