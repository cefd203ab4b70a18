//! What is said about an image: statements that refer to its manifest, or that its index lists.

use kiln_builder::attest::manifest::{PREDICATE_TYPE, attested};
use kiln_builder::attest::statement::{IN_TOTO, MAX_STATEMENT, Statement};
use kiln_oci::parse::{Document, MAX_MANIFEST, parse_manifest};
use kiln_oci::{Descriptor, Digest, Index};

use super::{Images, StoredImage};
use crate::{Error, Result};

/// A statement that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementInfo {
    /// What it says, for example `https://spdx.dev/Document`.
    pub predicate_type: String,
    /// What points to it.
    pub descriptor: Descriptor,
}

impl Images<'_> {
    /// The predicate of a statement as JSON text.
    pub fn predicate(&self, statement: &StatementInfo) -> Result<String> {
        let digest = &statement.descriptor.digest;
        let bytes = self.engine.store().content.read(digest, MAX_STATEMENT)?;
        let malformed = |error| Error::internal(format!("read the statement `{digest}`"), error);
        Ok(Statement::parse(&bytes).map_err(malformed)?.predicate.get().to_owned())
    }

    /// The statements about an image.
    pub(super) fn statements(&self, image: &StoredImage) -> Result<Vec<StatementInfo>> {
        let store = self.engine.store();
        let mut artifacts = store.referrers.of(&image.manifest_digest)?;
        if let Some(Document::Index(index)) = self.document(&image.descriptor.digest)? {
            artifacts.extend(about(&index, &image.manifest_digest).cloned());
        }
        let mut found = Vec::new();
        for artifact in artifacts {
            let Some(Document::Manifest(manifest)) = self.document(&artifact.digest)? else { continue };
            let layers = manifest.layers.into_iter().filter(|layer| layer.media_type.as_str() == IN_TOTO);
            for descriptor in layers {
                let predicate_type = descriptor.annotations.get(PREDICATE_TYPE).cloned().unwrap_or_default();
                if store.content.info(&descriptor.digest)?.is_some() {
                    found.push(StatementInfo { predicate_type, descriptor });
                }
            }
        }
        Ok(found)
    }

    /// A manifest or index, where it is here and can be read.
    fn document(&self, digest: &Digest) -> Result<Option<Document>> {
        let content = &self.engine.store().content;
        if content.info(digest)?.is_none() {
            return Ok(None);
        }
        Ok(parse_manifest(&content.read(digest, MAX_MANIFEST as u64)?, None).ok())
    }
}

fn about<'a>(index: &'a Index, manifest: &'a Digest) -> impl Iterator<Item = &'a Descriptor> {
    index.manifests.iter().filter(move |entry| attested(entry).as_ref() == Some(manifest))
}
