//! The tar of `save` and `load`: Docker's and OCI's format at once.

mod entries;
mod read;
mod tree;
mod write;

use serde::{Deserialize, Serialize};

pub use read::{Archive, ArchiveError, Loaded, LoadedImage, LoadedLayer};
pub use write::{Blobs, Contents, SavedImage, write};

/// The file in which Docker's format lists its images.
const DOCKER_FILE: &str = "manifest.json";

/// One image in `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    /// The path of the configuration.
    config: String,
    /// Names as people type them; Docker writes `null` for none.
    repo_tags: Option<Vec<String>>,
    /// The paths of the layers, lowest first.
    layers: Option<Vec<String>>,
}

#[cfg(test)]
mod tests;
