//! One image as a value: its manifest and its configuration, which agree.

use crate::{ChainId, DiffId, ImageConfig, Manifest, chain_ids};

/// A manifest and the configuration it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

impl Image {
    /// The identities of its layers, lowest first.
    pub fn diff_ids(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }

    /// The chain id of each prefix of its layers.
    pub fn chain_ids(&self) -> Vec<ChainId> {
        chain_ids(self.diff_ids())
    }
}
