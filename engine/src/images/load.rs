//! Reading images from an archive that `save` of kiln, Docker or an OCI tool wrote.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use kiln_cache::{Arriving, Lease, Resource, Store};
use kiln_oci::archive::{Archive, Loaded, LoadedImage, LoadedLayer};
use kiln_oci::compression::decompress;
use kiln_oci::{Descriptor, DiffId, Digest, Manifest, MediaType, Reference};

use super::Images;
use crate::{Error, Result};

/// `O_TMPFILE`, on the architectures kiln is for: a file without a name, gone when it is closed.
const O_TMPFILE: i32 = 0o20_200_000;

impl Images<'_> {
    /// Reads the images of an archive, compressed or not, into the store; the names each got, and its id, which is an
    /// index's digest where it is one.
    pub fn load(&self, archive: impl Read) -> Result<Vec<(Vec<Reference>, Digest)>> {
        let store = self.engine.store();
        let file = spool(store, archive)?;
        let refuse = |error| Error::invalid("cannot load the archive").caused_by(error);
        let mut archive = Archive::open(file).map_err(refuse)?;
        let images = archive.images().map_err(refuse)?;
        if images.is_empty() {
            return Err(Error::invalid("there is no image in the archive"));
        }
        let loaded = images.into_iter().map(|image| load_one(store, &mut archive, image)).collect();
        self.engine.sync_later()?;
        loaded
    }
}

/// The archive, uncompressed, as a file that can be read at any place.
fn spool(store: &Store, archive: impl Read) -> Result<File> {
    let fail = |error: io::Error| Error::internal("read the archive", error);
    let folder = store.root().join("ingest");
    let mut file =
        OpenOptions::new().read(true).write(true).custom_flags(O_TMPFILE).open(folder).map_err(fail)?;
    io::copy(&mut decompress(BufReader::with_capacity(256 << 10, archive)), &mut file).map_err(fail)?;
    file.flush().and_then(|()| file.rewind()).map_err(fail)?;
    Ok(file)
}

fn load_one(store: &Store, archive: &mut Archive<File>, loaded: Loaded) -> Result<(Vec<Reference>, Digest)> {
    let lease = store.leases.create()?;
    let mut root = None;
    for image in &loaded.images {
        let manifest = load_image(store, &lease, archive, image)?;
        root.get_or_insert((manifest, Digest::of(&image.config_bytes)));
    }
    for (media_type, bytes) in loaded.attached {
        put(store, &lease, media_type, &bytes)?;
    }
    for (media_type, bytes) in loaded.indexes.into_iter().rev() {
        let index = put(store, &lease, media_type, &bytes)?;
        let id = index.digest.clone();
        root = Some((index, id));
    }
    let Some((root, id)) = root else { return Err(Error::invalid("an index of the archive is empty")) };
    if loaded.names.is_empty() {
        store.images.add(&root)?;
    }
    let names: Vec<Reference> = loaded.names.into_iter().map(Reference::with_default_tag).collect();
    for name in &names {
        store.images.set(&name.to_string(), &root)?;
    }
    Ok((names, id))
}

/// Takes one image; what points to its manifest.
fn load_image(
    store: &Store,
    lease: &Lease,
    archive: &mut Archive<File>,
    image: &LoadedImage,
) -> Result<Descriptor> {
    let config = put(store, lease, MediaType::OCI_CONFIG.into(), &image.config_bytes)?;
    let mut layers = Vec::new();
    let mut parent: Vec<DiffId> = Vec::new();
    for layer in &image.layers {
        layers.push(load_layer(store, lease, archive, layer, &parent)?);
        parent.push(layer.diff_id.clone());
    }
    let made = || Manifest::new(config, layers).to_bytes();
    let manifest = image.manifest.clone().unwrap_or_else(made);
    put(store, lease, manifest_media_type(&manifest), &manifest)
}

fn put(store: &Store, lease: &Lease, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor> {
    lease.hold(&Resource::Blob(Digest::of(bytes)))?;
    Ok(store.content.put(media_type, bytes)?)
}

fn load_layer(
    store: &Store,
    lease: &Lease,
    archive: &mut Archive<File>,
    layer: &LoadedLayer,
    parent: &[DiffId],
) -> Result<Descriptor> {
    let fail = |error: io::Error| Error::invalid("cannot read a layer of the archive").caused_by(error);
    let Some(descriptor) = &layer.descriptor else {
        // Docker's old archives have no digests but the uncompressed layer's, whose length is counted first.
        let size = io::copy(&mut plain(archive, layer).map_err(fail)?, &mut io::sink()).map_err(fail)?;
        let descriptor = Descriptor::new(MediaType::OCI_LAYER, layer.diff_id.0.clone(), size);
        let arriving = Arriving { descriptor: &descriptor, parent, diff_id: &layer.diff_id };
        store.layers.unpack_stream(lease, arriving, plain(archive, layer).map_err(fail)?)?;
        return Ok(descriptor);
    };
    let arriving = Arriving { descriptor, parent, diff_id: &layer.diff_id };
    store.layers.unpack_stream(lease, arriving, archive.layer(layer).map_err(fail)?)?;
    if descriptor.digest != layer.diff_id.0 {
        // An unpacked layer that was here before did not take the blob, which the manifest names.
        let bytes = archive.layer(layer).map_err(fail)?;
        store.layers.store_stream(lease, descriptor, &layer.diff_id, bytes)?;
    }
    Ok(descriptor.clone())
}

fn plain<'a>(archive: &'a mut Archive<File>, layer: &LoadedLayer) -> io::Result<impl Read + 'a> {
    Ok(decompress(BufReader::new(archive.layer(layer)?)))
}

fn manifest_media_type(bytes: &[u8]) -> MediaType {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    MediaType::new(value["mediaType"].as_str().unwrap_or(MediaType::OCI_MANIFEST))
}
