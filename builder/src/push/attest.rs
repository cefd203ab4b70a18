//! Statements about an image go where the image goes.
//!
//! A local manifest names layers that are not packed yet, so the manifest that a registry gets may be another one. Our own
//! statements are then made about that one; what others said of a manifest, or signed, stays with it.

use std::sync::Arc;

use kiln_cache::Resource;
use kiln_oci::parse::{Document, MAX_MANIFEST, parse_manifest};
use kiln_oci::{Descriptor, Digest, Manifest, MediaType};

use super::Push;
use crate::attest::attach;
use crate::attest::manifest::{Artifact, attested};
use crate::attest::statement::{IN_TOTO, MAX_STATEMENT, Statement};
use crate::error::Cause;
use crate::push::blob::{Stored, push_blob};

impl Push<'_> {
    /// Sends what refers to the manifest `stored`, which is `pushed` at the registry.
    pub(super) async fn referrers(&mut self, stored: &Digest, pushed: &Descriptor) -> Result<(), Cause> {
        for referrer in self.stores.store.referrers.of(stored)? {
            let artifact = self.follow(&referrer, stored, pushed)?;
            let Some((descriptor, manifest, bytes)) = artifact else { continue };
            self.send(&manifest).await?;
            let target = self.target.clone();
            self.stores.client.push_referrer(&target, &pushed.digest, &descriptor, bytes.into()).await?;
        }
        Ok(())
    }

    /// Sends the statements that an index lists about an image, which is `pushed` at the registry; their new entry, or
    /// nothing where they are not here or cannot be about that.
    pub(super) async fn entry(
        &mut self,
        entry: &Descriptor,
        pushed: &Descriptor,
    ) -> Result<Option<Descriptor>, Cause> {
        let Some(stored) = attested(entry).filter(|_| self.has(entry)) else { return Ok(None) };
        let Some((descriptor, manifest, bytes)) = self.follow(entry, &stored, pushed)? else {
            return Ok(None);
        };
        self.send(&manifest).await?;
        let media_type = MediaType::new(descriptor.media_type.as_str());
        self.stores.client.push_manifest(&self.target.without_tag(), &media_type, bytes.into()).await?;
        Ok(Some(descriptor))
    }

    /// An artifact about `stored` as one about `pushed`.
    fn follow(
        &self,
        entry: &Descriptor,
        stored: &Digest,
        pushed: &Descriptor,
    ) -> Result<Option<(Descriptor, Manifest, Vec<u8>)>, Cause> {
        let content = &self.stores.store.content;
        let bytes = content.read(&entry.digest, MAX_MANIFEST as u64)?;
        let Some(manifest) = manifest_of(&bytes) else { return Ok(None) };
        if *stored == pushed.digest {
            return Ok(Some((entry.clone(), manifest, bytes)));
        }
        if manifest.layers.is_empty()
            || manifest.layers.iter().any(|layer| layer.media_type.as_str() != IN_TOTO)
        {
            return Ok(None);
        }
        let mut statements = Vec::with_capacity(manifest.layers.len());
        for layer in &manifest.layers {
            let Ok(statement) = Statement::parse(&content.read(&layer.digest, MAX_STATEMENT)?) else {
                return Ok(None);
            };
            statements.push(statement);
        }
        let moved = Artifact::moved(&manifest, entry, statements, stored, pushed);
        attach::put(&self.stores.store, &self.lease, &moved)?;
        let bytes = content.read(&moved.descriptor.digest, MAX_MANIFEST as u64)?;
        Ok(manifest_of(&bytes).map(|manifest| (moved.descriptor, manifest, bytes)))
    }

    /// Makes the registry have what a manifest names.
    async fn send(&mut self, manifest: &Manifest) -> Result<(), Cause> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            self.lease.hold(&Resource::Blob(blob.digest.clone()))?;
            let blob = Arc::new(Stored::new(self.stores, blob, self.reporter));
            let pushed = push_blob(self.stores, self.target, &blob).await?;
            self.counts.add(pushed);
        }
        Ok(())
    }
}

fn manifest_of(bytes: &[u8]) -> Option<Manifest> {
    match parse_manifest(bytes, None) {
        Ok(Document::Manifest(manifest)) => Some(manifest),
        _ => None,
    }
}
