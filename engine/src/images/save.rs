//! Writing images to an archive that Docker and OCI tools read.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use kiln_builder::attest::manifest::attested;
use kiln_cache::{Resource, Store};
use kiln_oci::archive::{self, Blobs, SavedImage};
use kiln_oci::parse::{Document, MAX_MANIFEST, parse_manifest};
use kiln_oci::{Descriptor, DiffId, Reference};

use super::{Images, StoredImage};
use crate::{Error, Result};

impl Images<'_> {
    /// Writes images with all their layers to `out`. An image that is given by name is saved under that name, one given
    /// by id under all of its names. Of an index every image that is here is saved, or that for `platform` alone.
    pub fn save(&self, names: &[String], platform: Option<&str>, out: impl Write) -> Result<()> {
        let store = self.engine.store();
        let lease = store.leases.create()?;
        let (mut saved, mut stored) = (Vec::new(), Vec::new());
        for name in names {
            let image = self.find_for(name, platform)?;
            let digest = &image.descriptor.digest;
            lease.hold(&Resource::Image(digest.clone()))?;
            let typed = super::read::full_name(name);
            let own: Option<Reference> =
                image.names.iter().find(|own| Some(own.to_string()) == typed).cloned();
            let names = own.map_or_else(|| image.names.clone(), |own| vec![own]);
            let root = if platform.is_some() { &image.manifest_digest } else { digest };
            let root = store.content.read(root, MAX_MANIFEST as u64)?;
            saved.push(SavedImage { names, root, annotations: BTreeMap::new() });
            stored.push(image);
        }
        let blobs = StoreBlobs { store, images: &stored };
        archive::write(out, &merge(saved), &blobs)
            .and_then(|mut out| out.flush())
            .map_err(|error| Error::internal("write the archive", error))
    }
}

/// One image that was named twice is in the archive once, under both names.
fn merge(images: Vec<SavedImage>) -> Vec<SavedImage> {
    let mut merged: Vec<SavedImage> = Vec::new();
    for image in images {
        match merged.iter_mut().find(|other| other.root == image.root) {
            Some(other) => other.names.extend(image.names),
            None => merged.push(image),
        }
    }
    merged
}

/// Blobs of the store; a layer that is there as a snapshot alone is packed while it is read.
struct StoreBlobs<'a> {
    store: &'a Store,
    images: &'a [StoredImage],
}

impl StoreBlobs<'_> {
    /// Whether an entry of an index that says something about another one is here with all that it has.
    fn has_statements(&self, entry: &Descriptor) -> Result<bool> {
        let content = &self.store.content;
        if content.info(&entry.digest)?.is_none() {
            return Ok(false);
        }
        let bytes = content.read(&entry.digest, MAX_MANIFEST as u64)?;
        let Ok(Document::Manifest(manifest)) = parse_manifest(&bytes, None) else { return Ok(false) };
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if content.info(&blob.digest)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The layers of an image up to the one whose tar is `descriptor`.
    fn chain(&self, descriptor: &Descriptor) -> Option<&[DiffId]> {
        self.images.iter().flat_map(|image| &image.variants.here).find_map(|variant| {
            let chain = &variant.config.rootfs.diff_ids;
            let index = chain.iter().position(|diff_id| diff_id.0 == descriptor.digest)?;
            Some(&chain[..=index])
        })
    }
}

impl Blobs for StoreBlobs<'_> {
    fn has(&self, descriptor: &Descriptor) -> io::Result<bool> {
        let is_image = self.images.iter().any(|image| image.variants.documents.contains(&descriptor.digest));
        Ok(is_image
            || attested(descriptor).is_some() && self.has_statements(descriptor).map_err(io::Error::other)?)
    }

    fn open(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send + '_>> {
        let content = &self.store.content;
        if content.info(&descriptor.digest).map_err(io::Error::other)?.is_some() {
            return Ok(Box::new(content.reader(&descriptor.digest).map_err(io::Error::other)?));
        }
        let missing = || io::Error::other(format!("the blob `{}` is not in the store", descriptor.digest));
        let chain = self.chain(descriptor).ok_or_else(missing)?;
        self.store.layers.open_tar(chain, chain.len() - 1).map_err(io::Error::other)
    }
}
