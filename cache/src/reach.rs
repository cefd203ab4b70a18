//! What an image needs: the blobs and layers that can be reached from its descriptor.

use std::collections::HashSet;

use kiln_oci::media_type::Kind;
use kiln_oci::{ChainId, Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, chain_ids};
use rusqlite::Connection;
use serde::de::DeserializeOwned;

use crate::content::LocalContent;
use crate::error::{Error, Result};
use crate::layers::{LayerRef, blobs_of_layer};

/// The largest manifest or index that is read.
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;
/// The largest image config that is read.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// How deep indexes may nest.
pub(crate) const MAX_NESTING: usize = 4;

/// Blobs and layers.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Digests of blobs, here or not.
    pub(crate) blobs: HashSet<Digest>,
    /// Every prefix of every chain.
    pub(crate) chains: HashSet<ChainId>,
    diff_ids: HashSet<DiffId>,
}

impl Reach {
    /// Adds everything that an image needs. A document that is missing or damaged reaches nothing.
    pub(crate) fn add_image(&mut self, content: &LocalContent, descriptor: &Descriptor) -> Result<()> {
        self.add_document(content, descriptor, 0)
    }

    /// Adds the layers of a chain.
    pub(crate) fn add_chain(&mut self, diff_ids: &[DiffId]) {
        self.chains.extend(chain_ids(diff_ids));
        self.diff_ids.extend(diff_ids.iter().cloned());
    }

    /// Whether a snapshot is one of the layers, or the form of one that was made on nothing.
    pub(crate) fn needs(&self, chain: &ChainId) -> bool {
        self.chains.contains(chain) || self.diff_ids.contains(&DiffId(chain.0.clone()))
    }

    /// Whether a layer is one of the layers.
    pub(crate) fn needs_layer(&self, diff_id: &DiffId) -> bool {
        self.diff_ids.contains(diff_id)
    }

    /// Adds the layers of a build result.
    pub(crate) fn add_layers(&mut self, layers: &[LayerRef]) {
        let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        self.add_chain(&diff_ids);
    }

    /// Adds the packed forms of the layers.
    pub(crate) fn add_packed(&mut self, db: &Connection) -> Result<()> {
        for diff_id in &self.diff_ids {
            self.blobs.extend(blobs_of_layer(db, diff_id)?);
        }
        Ok(())
    }

    fn add_document(&mut self, content: &LocalContent, descriptor: &Descriptor, depth: usize) -> Result<()> {
        if depth > MAX_NESTING || !self.blobs.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        match descriptor.media_type.kind() {
            Kind::Manifest => self.add_manifest(content, &descriptor.digest),
            Kind::Index => {
                let index: Option<Index> = document(content, &descriptor.digest, MAX_DOCUMENT)?;
                let children = index.map(|index| index.manifests).unwrap_or_default();
                children.iter().try_for_each(|child| self.add_document(content, child, depth + 1))
            }
            Kind::Config | Kind::Layer(_) | Kind::Other => Ok(()),
        }
    }

    fn add_manifest(&mut self, content: &LocalContent, digest: &Digest) -> Result<()> {
        let Some(manifest) = document::<Manifest>(content, digest, MAX_DOCUMENT)? else { return Ok(()) };
        self.blobs.extend(manifest.layers.iter().map(|layer| layer.digest.clone()));
        self.blobs.insert(manifest.config.digest.clone());
        if let Some(config) = document::<ImageConfig>(content, &manifest.config.digest, MAX_CONFIG)? {
            self.add_chain(&config.rootfs.diff_ids);
        }
        Ok(())
    }
}

/// The config of an image: of its manifest, or of the first manifest of its index that is here.
pub(crate) fn config_of(content: &LocalContent, descriptor: &Descriptor) -> Result<Option<Digest>> {
    config_within(content, descriptor, 0)
}

fn config_within(content: &LocalContent, descriptor: &Descriptor, depth: usize) -> Result<Option<Digest>> {
    if depth > MAX_NESTING || content.info(&descriptor.digest)?.is_none() {
        return Ok(None);
    }
    let bytes = || content.read(&descriptor.digest, MAX_DOCUMENT);
    match descriptor.media_type.kind() {
        Kind::Manifest => Ok(Some(parse::<Manifest>(&descriptor.digest, &bytes()?)?.config.digest)),
        Kind::Index => {
            let index: Index = parse(&descriptor.digest, &bytes()?)?;
            let mut configs = index.manifests.iter().map(|child| config_within(content, child, depth + 1));
            configs.find(|config| !matches!(config, Ok(None))).unwrap_or(Ok(None))
        }
        Kind::Config | Kind::Layer(_) | Kind::Other => Ok(None),
    }
}

/// A document of the store; `None` if it is not here or is damaged, so that a bad blob cannot stop a collection.
fn document<T: DeserializeOwned>(content: &LocalContent, digest: &Digest, limit: u64) -> Result<Option<T>> {
    match content.read(digest, limit).and_then(|bytes| parse(digest, &bytes)) {
        Ok(value) => Ok(Some(value)),
        Err(
            Error::NotFound { .. }
            | Error::Malformed { .. }
            | Error::WrongDigest { .. }
            | Error::WrongSize { .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse<T: DeserializeOwned>(digest: &Digest, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::Malformed {
        kind: "manifest",
        name: digest.to_string(),
        source,
    })
}
