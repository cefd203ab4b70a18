//! One image to its registry: layers and configuration, then the manifest.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use kiln_cache::{Lease, Resource, Source, Store};
use kiln_oci::compression::Packing;
use kiln_oci::media_type::Kind;
use kiln_oci::{Compression, Descriptor, Manifest, MediaType, Reference};
use kiln_registry_client::{BlobSource, Pushed};

use super::Plain;
use crate::error::Cause;
use crate::progress::{EventKind, Reporter, Transfer};
use crate::pull::{self, Image};
use crate::solver::blocking;
use crate::stores::Stores;

/// How many blobs are packed and sent at once.
const PARALLEL: usize = 4;
/// Bytes between two reports of progress.
const REPORT_EVERY: u64 = 512 << 10;

/// Sends an image to `target`: under its tag, or under the manifest's digest where it has none. What points to the manifest as
/// it is there.
pub(super) async fn push(
    stores: &Arc<Stores>,
    image: &Image,
    target: &Reference,
    lease: &Arc<Lease>,
    plain: Plain,
    reporter: &Arc<dyn Reporter>,
) -> Result<PushedImage, Cause> {
    lease.hold(&Resource::Blob(image.descriptor.digest.clone()))?;
    lease.hold(&Resource::Blob(image.manifest.config.digest.clone()))?;
    let count = image.manifest.layers.len();
    let pushing =
        stream::iter(0..count).map(|index| push_layer(stores, image, index, target, lease, plain, reporter));
    let pushed: Vec<(Descriptor, Pushed)> = pushing.buffered(PARALLEL).try_collect().await?;
    let config = &image.manifest.config;
    let of_config = push_blob(stores, target, &Arc::new(Stored::new(stores, config, reporter))).await?;
    let (layers, mut blobs): (Vec<Descriptor>, Vec<Pushed>) = pushed.into_iter().unzip();
    blobs.push(of_config);
    remember(stores, target, config, &layers)?;
    let (media_type, bytes) = manifest(stores, image, layers)?;
    let descriptor = stores.client.push_manifest(target, &media_type, bytes.into()).await?;
    Ok(PushedImage { descriptor, blobs })
}

/// An image that its registry has now.
pub(super) struct PushedImage {
    /// What points to its manifest there.
    pub(super) descriptor: Descriptor,
    /// How each of its blobs came to be there.
    pub(super) blobs: Vec<Pushed>,
}

/// Packs the layer where it is not packed yet, and makes the registry have it.
async fn push_layer(
    stores: &Arc<Stores>,
    image: &Image,
    index: usize,
    target: &Reference,
    lease: &Arc<Lease>,
    plain: Plain,
    reporter: &Arc<dyn Reporter>,
) -> Result<(Descriptor, Pushed), Cause> {
    let descriptor = image.manifest.layers[index].clone();
    let packed = match descriptor.media_type.kind() {
        Kind::Layer(Compression::Uncompressed) if plain == Plain::Packed => {
            pack(stores, image, index, lease).await?
        }
        _ => descriptor,
    };
    lease.hold(&Resource::Blob(packed.digest.clone()))?;
    let blob = Arc::new(Stored::new(stores, &packed, reporter));
    let pushed = match push_blob(stores, target, &blob).await {
        // A layer of a base that no step of the build read: it is fetched only where the registry must be sent it.
        Err(_) if blob.was_missed() => {
            pull::fetch_blob(stores, image, index, lease, reporter.as_ref()).await?;
            push_blob(stores, target, &blob).await?
        }
        result => result?,
    };
    Ok((packed, pushed))
}

async fn pack(
    stores: &Arc<Stores>,
    image: &Image,
    index: usize,
    lease: &Arc<Lease>,
) -> Result<Descriptor, Cause> {
    let (store, lease, chain) = (stores.store.clone(), lease.clone(), image.config.rootfs.diff_ids.clone());
    blocking(move || {
        let packed = store.layers.blob_of(&lease, &chain, index, Packing::of(Compression::Gzip))?;
        Ok(Descriptor::new(MediaType::layer(Compression::Gzip), packed.digest, packed.size))
    })
    .await
}

pub(super) async fn push_blob(
    stores: &Arc<Stores>,
    target: &Reference,
    blob: &Arc<Stored>,
) -> Result<Pushed, Cause> {
    let descriptor = &blob.descriptor;
    let sources = stores.store.sources.of(&descriptor.digest)?;
    let elsewhere =
        |source: &&Source| source.registry == target.registry() && source.repository != target.repository();
    let mount_from = sources.iter().find(elsewhere).map(|source| source.repository.clone());
    let pushed = stores.client.push_blob(target, descriptor, blob.clone(), mount_from.as_deref()).await?;
    let action = match pushed {
        Pushed::Existed => "already there",
        Pushed::Mounted => "mounted",
        Pushed::Uploaded => "pushing",
    };
    report(blob.reporter.as_ref(), descriptor, action, descriptor.size, true);
    Ok(pushed)
}

/// The manifest as the registry gets it: the very bytes of the store where no layer had to be packed.
fn manifest(stores: &Stores, image: &Image, layers: Vec<Descriptor>) -> Result<(MediaType, Vec<u8>), Cause> {
    if layers == image.manifest.layers {
        let media_type =
            image.manifest.media_type.clone().unwrap_or_else(|| image.descriptor.media_type.clone());
        return Ok((media_type, stores.store.content.read(&image.descriptor.digest, image.descriptor.size)?));
    }
    let manifest = Manifest { layers, ..image.manifest.clone() };
    let bytes = manifest.to_bytes();
    let media_type = manifest.media_type.unwrap_or_else(|| MediaType::new(MediaType::OCI_MANIFEST));
    stores.store.content.put(media_type.clone(), &bytes)?;
    Ok((media_type, bytes))
}

fn remember(
    stores: &Stores,
    target: &Reference,
    config: &Descriptor,
    layers: &[Descriptor],
) -> Result<(), Cause> {
    let source =
        Source { registry: target.registry().to_owned(), repository: target.repository().to_owned() };
    let digests: Vec<_> = layers.iter().chain([config]).map(|blob| blob.digest.clone()).collect();
    Ok(stores.store.sources.add(&source, &digests)?)
}

/// A blob of the store that reports how far its reading has come.
pub(super) struct Stored {
    store: Arc<Store>,
    descriptor: Descriptor,
    reporter: Arc<dyn Reporter>,
    missed: AtomicBool,
}

impl Stored {
    pub(super) fn new(stores: &Stores, descriptor: &Descriptor, reporter: &Arc<dyn Reporter>) -> Stored {
        Stored {
            store: stores.store.clone(),
            descriptor: descriptor.clone(),
            reporter: reporter.clone(),
            missed: AtomicBool::new(false),
        }
    }

    /// Whether somebody wanted to read it and it was not in the store.
    fn was_missed(&self) -> bool {
        self.missed.load(Ordering::Relaxed)
    }
}

impl BlobSource for Stored {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let content = &self.store.content;
        let digest = &self.descriptor.digest;
        let is_here = content.info(digest).map_err(io::Error::other)?.is_some();
        self.missed.store(!is_here, Ordering::Relaxed);
        let file = content.reader(digest).map_err(io::Error::other)?;
        let (descriptor, reporter) = (self.descriptor.clone(), self.reporter.clone());
        Ok(Box::new(Reported { file, descriptor, reporter, current: 0, reported: 0 }))
    }
}

struct Reported {
    file: std::fs::File,
    descriptor: Descriptor,
    reporter: Arc<dyn Reporter>,
    current: u64,
    reported: u64,
}

impl Read for Reported {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.current += count as u64;
        if self.current - self.reported >= REPORT_EVERY {
            self.reported = self.current;
            report(self.reporter.as_ref(), &self.descriptor, "pushing", self.current, false);
        }
        Ok(count)
    }
}

fn report(reporter: &dyn Reporter, descriptor: &Descriptor, action: &'static str, current: u64, done: bool) {
    let item = descriptor.digest.to_string();
    reporter.report(EventKind::Transfer(Transfer {
        item,
        action,
        current,
        total: Some(descriptor.size),
        done,
    }));
}
