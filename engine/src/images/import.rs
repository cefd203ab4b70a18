//! An image of one layer from a tar of a root filesystem.

use std::io::{self, BufReader, Read};

use kiln_cache::{Arriving, Resource, Store};
use kiln_oci::compression::decompress_archive;
use kiln_oci::{Descriptor, DiffId, Digest, History, ImageConfig, Manifest, MediaType, Platform, Reference};

use super::Images;
use crate::{Error, Result, build};

/// What `import` makes of a tar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// The image's name; `None` leaves it without one.
    pub name: Option<String>,
    /// Dockerfile instructions for its configuration.
    pub changes: Vec<String>,
    /// The comment in its history.
    pub message: Option<String>,
    /// Its platform; `None` is this machine's.
    pub platform: Option<String>,
}

impl Images<'_> {
    /// Makes an image of the root filesystem in `tar`, compressed or not; its id.
    pub fn import(&self, tar: impl Read, options: &ImportOptions) -> Result<Digest> {
        let name = options.name.as_deref().map(str::parse::<Reference>).transpose()?;
        let platform = match &options.platform {
            Some(text) => text.parse()?,
            None => Platform::host(),
        };
        let mut config = build::config_of_changes(&options.changes, &platform)?;
        let store = self.engine.store();
        let lease = store.leases.create()?;
        let layer = import_layer(store, &lease, tar)?;
        finish_config(&mut config, &layer, options);
        let bytes = config.to_bytes();
        lease.hold(&Resource::Blob(Digest::of(&bytes)))?;
        let config = store.content.put(MediaType::OCI_CONFIG, &bytes)?;
        let id = config.digest.clone();
        let manifest = Manifest::new(config, vec![layer]).to_bytes();
        lease.hold(&Resource::Blob(Digest::of(&manifest)))?;
        let descriptor = store.content.put(MediaType::OCI_MANIFEST, &manifest)?;
        match name {
            Some(name) => store.images.set(&name.with_default_tag().to_string(), &descriptor).map(drop)?,
            None => store.images.add(&descriptor)?,
        }
        self.engine.sync_later()?;
        Ok(id)
    }
}

/// The tar as a layer of the store: written once to learn its digest, then unpacked from there.
fn import_layer(store: &Store, lease: &kiln_cache::Lease, tar: impl Read) -> Result<Descriptor> {
    let fail = |error: io::Error| Error::invalid("cannot read the root filesystem").caused_by(error);
    let mut ingest = store.content.ingest()?;
    io::copy(&mut decompress_archive(BufReader::with_capacity(256 << 10, tar)), &mut ingest).map_err(fail)?;
    lease.hold(&Resource::Blob(ingest.digest()))?;
    let blob = ingest.commit(None)?;
    let descriptor = Descriptor::new(MediaType::OCI_LAYER, blob.digest.clone(), blob.size);
    let diff_id = DiffId(blob.digest);
    let bytes = store.content.reader(&diff_id.0)?;
    let arriving = Arriving { descriptor: &descriptor, parent: &[], diff_id: &diff_id };
    store.layers.unpack_stream(lease, arriving, bytes)?;
    Ok(descriptor)
}

fn finish_config(config: &mut ImageConfig, layer: &Descriptor, options: &ImportOptions) {
    let now = jiff::Timestamp::now().to_string();
    config.created = Some(now.clone());
    config.rootfs.diff_ids = vec![DiffId(layer.digest.clone())];
    let comment = options.message.clone().unwrap_or_else(|| "imported from a root filesystem".to_owned());
    config.history = vec![History { created: Some(now), comment: Some(comment), ..History::default() }];
}
