//! Images from registries: what a reference names, and its layers, fetched when they are needed.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kiln_cache::{Arriving, Lease, Resource, Source};
use kiln_oci::media_type::Kind;
use kiln_oci::parse::{Document, MAX_INDEX_DEPTH, parse_config, parse_manifest};
use kiln_oci::{Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Reference};
use kiln_registry_client::BlobStream;
use tokio::sync::{Semaphore, mpsc};

use crate::error::Cause;
use crate::progress::{EventKind, Reporter, Transfer};
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::Layers;

/// The most bytes of a manifest or index.
const MAX_MANIFEST: u64 = 4 << 20;
/// The most bytes of an image configuration.
const MAX_CONFIG: u64 = 8 << 20;
/// How many layers are downloaded at once.
const PARALLEL: usize = 4;
/// Pieces of a blob that wait between the network and the disk.
const PIECES: usize = 16;
/// Bytes between two reports of progress.
const REPORT_EVERY: u64 = 512 << 10;

/// An image whose manifest and configuration are known; its layers may be anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it is, with the digest of what was named.
    pub reference: Reference,
    /// What was named: a manifest, or an index that has one.
    pub root: Descriptor,
    /// The manifest of the platform.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

impl Image {
    /// The layers, whether they are here or not.
    pub fn layers(&self) -> Layers {
        Layers::of_image(Arc::new(self.clone()))
    }

    fn diff_ids(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }

    fn source(&self) -> Source {
        Source {
            registry: self.reference.registry().to_owned(),
            repository: self.reference.repository().to_owned(),
        }
    }
}

/// Finds the image that `reference` names for `platform`. A reference with a digest whose documents are in the store
/// asks nobody; one without always asks its registry.
pub async fn resolve(
    stores: &Arc<Stores>,
    reference: &Reference,
    platform: &Platform,
    reporter: &dyn Reporter,
) -> Result<Image, Cause> {
    let lease = stores.store.leases.create()?;
    let (root, bytes) = root_document(stores, reference, &lease).await?;
    let pinned = reference.with_digest(root.digest.clone());
    let (mut descriptor, mut found) = (root.clone(), parse_root(&pinned, &root, &bytes)?);
    for _ in 0..MAX_INDEX_DEPTH {
        let Document::Index(index) = &found else { break };
        descriptor = choose(&pinned, index, platform)?;
        let bytes = document(stores, &pinned, &descriptor, &lease).await?;
        found = parse_root(&pinned, &descriptor, &bytes)?;
    }
    let manifest = manifest_of(&pinned, found)?;
    let config = config(stores, &pinned, &manifest, &lease, reporter).await?;
    let image = Image { reference: pinned, root, descriptor, manifest, config };
    image.check()?;
    let (stores, remembered) = (stores.clone(), image.clone());
    blocking(move || remember(&stores, &remembered)).await?;
    Ok(image)
}

/// The manifest or index that a descriptor of the store names.
pub(crate) fn document_of(
    stores: &Stores,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Document, Cause> {
    parse_root(reference, descriptor, &stores.store.content.read(&descriptor.digest, MAX_MANIFEST)?)
}

/// Whether the documents of an image, or an index, are in the store.
pub(crate) fn has_image(stores: &Stores, reference: &Reference, entry: &Descriptor) -> bool {
    let has = |digest: &Digest| stores.store.content.info(digest).is_ok_and(|info| info.is_some());
    has(&entry.digest)
        && match document_of(stores, reference, entry) {
            Ok(Document::Manifest(manifest)) => has(&manifest.config.digest),
            Ok(Document::Index(_)) => true,
            Err(_) => false,
        }
}

/// The image that a descriptor of the store names, without asking anybody.
pub fn local(
    stores: &Stores,
    reference: &Reference,
    root: &Descriptor,
    platform: &Platform,
) -> Result<Image, Cause> {
    let content = &stores.store.content;
    let reference = reference.with_digest(root.digest.clone());
    let (mut descriptor, mut found) = (root.clone(), document_of(stores, &reference, root)?);
    for _ in 0..MAX_INDEX_DEPTH {
        let Document::Index(index) = &found else { break };
        descriptor = choose(&reference, index, platform)?;
        found = document_of(stores, &reference, &descriptor)?;
    }
    let manifest = manifest_of(&reference, found)?;
    let config = parse_image_config(&reference, &content.read(&manifest.config.digest, MAX_CONFIG)?)?;
    let image = Image { reference, root: root.clone(), descriptor, manifest, config };
    image.check()?;
    Ok(image)
}

/// What a pull did.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// Whether the name meant something else before, or nothing.
    pub changed: bool,
}

/// Makes the image that `reference` names be in the store, unpacked and under its name.
pub async fn pull(
    stores: &Arc<Stores>,
    reference: &Reference,
    platform: &Platform,
    reporter: &dyn Reporter,
) -> Result<Pulled, Cause> {
    let image = resolve(stores, reference, platform, reporter).await?;
    let lease = Arc::new(stores.store.leases.create()?);
    for digest in [&image.root.digest, &image.descriptor.digest, &image.manifest.config.digest] {
        lease.hold(&Resource::Blob(digest.clone()))?;
    }
    fetch(stores, &image, &lease, reporter).await?;
    let (store, root) = (stores.store.clone(), image.root.clone());
    let name = reference.clone().with_default_tag();
    let changed = blocking(move || {
        let tagged = name.tag().is_some();
        let name = if tagged { name.without_digest() } else { name };
        let before = store.images.get(&name.to_string())?;
        store.images.set(&name.to_string(), &root)?;
        drop(lease);
        Ok(before.is_none_or(|before| before.digest != root.digest))
    });
    Ok(Pulled { changed: changed.await?, image })
}

/// Makes the snapshot of `layers` be there, downloading what is nowhere on this machine.
pub async fn unpack(stores: &Arc<Stores>, layers: &Layers, reporter: &dyn Reporter) -> Result<(), Cause> {
    let (store, ids) = (stores.store.clone(), layers.diff_ids());
    if ids.is_empty() || layers.is_held() {
        return Ok(());
    }
    let (names, there) = (store.clone(), layers.chain_id());
    let ready = move || {
        Ok(there.is_some_and(|chain| {
            names.snapshots.stat(&kiln_cache::name_of(&chain)).is_ok_and(|info| info.is_some())
        }))
    };
    if blocking(ready).await? {
        return Ok(());
    }
    let lease = Arc::new(store.leases.create()?);
    if let Some(image) = layers.image() {
        fetch(stores, image, &lease, reporter).await?;
    }
    blocking(move || Ok(store.layers.snapshot_of(&lease, &ids).map(drop)?)).await
}

/// Downloads and unpacks the layers of an image that are not here. Downloads run beside each other, and each layer is
/// unpacked as soon as it and those beneath it are there.
pub async fn fetch(
    stores: &Arc<Stores>,
    image: &Image,
    lease: &Arc<Lease>,
    reporter: &dyn Reporter,
) -> Result<(), Cause> {
    let permits = Semaphore::new(PARALLEL);
    let first = first_missing(stores, image).await?;
    let mut arriving = FuturesOrdered::new();
    let mut seen = BTreeSet::new();
    for index in first..image.diff_ids().len() {
        // The same blob twice in one image is downloaded once.
        let new = seen.insert(image.manifest.layers[index].digest.clone());
        let way = if index == first { Way::Unpack } else { Way::Store };
        let permits = &permits;
        arriving.push_back(async move {
            if new {
                let _permit = permits.acquire().await;
                download(stores, image, index, way, lease, reporter).await?;
            }
            Ok::<_, Cause>(index)
        });
    }
    while let Some(index) = arriving.next().await {
        let index = index?;
        let (store, lease, chain) =
            (stores.store.clone(), lease.clone(), image.diff_ids()[..=index].to_vec());
        blocking(move || Ok(store.layers.snapshot_of(&lease, &chain).map(drop)?)).await?;
        let layer = &image.manifest.layers[index];
        report(reporter, &layer.digest, "extracting", layer.size, layer.size, true);
    }
    Ok(())
}

/// Where a downloaded layer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the store and unpacked, in one pass.
    Unpack,
    /// To the store, unpacked when what is beneath it is there.
    Store,
}

/// The lowest layer without a snapshot.
async fn first_missing(stores: &Arc<Stores>, image: &Image) -> Result<usize, Cause> {
    let (store, chains) = (stores.store.clone(), kiln_oci::chain_ids(image.diff_ids()));
    blocking(move || {
        let mut there = chains.len();
        while there > 0 && store.snapshots.stat(&kiln_cache::name_of(&chains[there - 1]))?.is_none() {
            there -= 1;
        }
        Ok(there)
    })
    .await
}

/// Opens a blob where it was seen before, else where the image is: the base layers of an image that was built here are
/// at the base's repository and not under the image's own name.
async fn open_blob(
    stores: &Arc<Stores>,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<BlobStream, Cause> {
    for source in stores.store.sources.of(&descriptor.digest)? {
        let Ok(place) = format!("{}/{}", source.registry, source.repository).parse::<Reference>() else {
            continue;
        };
        if let Ok(stream) = stores.client.blob(&place, descriptor).await {
            return Ok(stream);
        }
    }
    Ok(stores.client.blob(reference, descriptor).await?)
}

/// Makes the blob of layer `index` be in the store.
pub(crate) async fn fetch_blob(
    stores: &Arc<Stores>,
    image: &Image,
    index: usize,
    lease: &Arc<Lease>,
    reporter: &dyn Reporter,
) -> Result<(), Cause> {
    download(stores, image, index, Way::Store, lease, reporter).await
}

async fn download(
    stores: &Arc<Stores>,
    image: &Image,
    index: usize,
    way: Way,
    lease: &Arc<Lease>,
    reporter: &dyn Reporter,
) -> Result<(), Cause> {
    let descriptor = image.manifest.layers[index].clone();
    lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
    if stores.store.content.info(&descriptor.digest)?.is_some() {
        return Ok(());
    }
    let stream = open_blob(stores, &image.reference, &descriptor).await?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let (store, lease, diff_ids) = (stores.store.clone(), lease.clone(), image.diff_ids().to_vec());
    let taken = descriptor.clone();
    let taking = blocking(move || {
        let pieces = Pieces { receiver, current: bytes::Bytes::new() };
        let (parent, diff_id) = (&diff_ids[..index], &diff_ids[index]);
        match way {
            Way::Unpack => {
                let layer = Arriving { descriptor: &taken, parent, diff_id };
                store.layers.unpack_stream(&lease, layer, pieces)?;
            }
            Way::Store => store.layers.store_stream(&lease, &taken, diff_id, pieces)?,
        }
        Ok(())
    });
    let (sent, taken) = tokio::join!(send(stream, sender, &descriptor, reporter), taking);
    // A failed download makes the taker fail too; the download says why.
    sent?;
    taken
}

/// Passes a stream on and reports how far it is. That nobody takes it any more is the taker's to explain.
async fn send(
    mut stream: BlobStream,
    sender: mpsc::Sender<io::Result<bytes::Bytes>>,
    descriptor: &Descriptor,
    reporter: &dyn Reporter,
) -> Result<(), Cause> {
    let (mut current, mut reported) = (0, 0);
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => {
                current += piece.len() as u64;
                if sender.send(Ok(piece)).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => {
                drop(sender.send(Err(io::Error::other(error.to_string()))).await);
                return Err(error.into());
            }
        }
        if current - reported >= REPORT_EVERY {
            reported = current;
            report(reporter, &descriptor.digest, "downloading", current, descriptor.size, false);
        }
    }
    report(reporter, &descriptor.digest, "downloading", current, descriptor.size, true);
    Ok(())
}

fn report(
    reporter: &dyn Reporter,
    item: &Digest,
    action: &'static str,
    current: u64,
    total: u64,
    done: bool,
) {
    let item = item.to_string();
    reporter.report(EventKind::Transfer(Transfer { item, action, current, total: Some(total), done }));
}

/// The pieces of a stream as a reader for a blocking thread.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<bytes::Bytes>>,
    current: bytes::Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

/// What the reference itself names, and its bytes.
async fn root_document(
    stores: &Arc<Stores>,
    reference: &Reference,
    lease: &Lease,
) -> Result<(Descriptor, Vec<u8>), Cause> {
    if let Some(digest) = reference.digest() {
        lease.hold(&Resource::Blob(digest.clone()))?;
        let content = &stores.store.content;
        if content.info(digest)?.is_some() {
            let bytes = content.read(digest, MAX_MANIFEST)?;
            let media_type = sniff(&bytes);
            return Ok((Descriptor::new(media_type, digest.clone(), bytes.len() as u64), bytes));
        }
    }
    let resolved = stores.client.resolve(reference).await?;
    lease.hold(&Resource::Blob(resolved.descriptor.digest.clone()))?;
    stores.store.content.put(resolved.descriptor.media_type.clone(), &resolved.bytes)?;
    Ok((resolved.descriptor, resolved.bytes.to_vec()))
}

/// The media type that a document of ours has.
fn sniff(bytes: &[u8]) -> MediaType {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    match value.get("mediaType").and_then(serde_json::Value::as_str) {
        Some(text) => MediaType::new(text),
        None if value.get("manifests").is_some() => MediaType::new(MediaType::OCI_INDEX),
        None => MediaType::new(MediaType::OCI_MANIFEST),
    }
}

/// The bytes of a manifest, from the store or from the registry.
async fn document(
    stores: &Arc<Stores>,
    reference: &Reference,
    descriptor: &Descriptor,
    lease: &Lease,
) -> Result<Vec<u8>, Cause> {
    lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
    let content = &stores.store.content;
    if content.info(&descriptor.digest)?.is_some() {
        return Ok(content.read(&descriptor.digest, MAX_MANIFEST)?);
    }
    let bytes = stores.client.manifest(reference, descriptor).await?;
    content.put(descriptor.media_type.clone(), &bytes)?;
    Ok(bytes.to_vec())
}

async fn config(
    stores: &Arc<Stores>,
    reference: &Reference,
    manifest: &Manifest,
    lease: &Lease,
    reporter: &dyn Reporter,
) -> Result<ImageConfig, Cause> {
    let descriptor = &manifest.config;
    if !matches!(descriptor.media_type.kind(), Kind::Config) {
        let kind = manifest.artifact_type.as_deref().unwrap_or(descriptor.media_type.as_str());
        return Err(broken(reference, &format!("it is no container image but `{kind}`")));
    }
    lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
    let content = &stores.store.content;
    if content.info(&descriptor.digest)?.is_some() {
        return parse_image_config(reference, &content.read(&descriptor.digest, MAX_CONFIG)?);
    }
    if descriptor.size > MAX_CONFIG {
        return Err(broken(reference, &format!("its configuration is larger than {MAX_CONFIG} bytes")));
    }
    let mut stream = stores.client.blob(reference, descriptor).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    report(reporter, &descriptor.digest, "downloading", descriptor.size, descriptor.size, true);
    let config = parse_image_config(reference, &bytes)?;
    content.put(descriptor.media_type.clone(), &bytes)?;
    Ok(config)
}

fn parse_root(reference: &Reference, descriptor: &Descriptor, bytes: &[u8]) -> Result<Document, Cause> {
    parse_manifest(bytes, Some(descriptor.media_type.as_str()))
        .map_err(|error| broken(reference, &error.to_string()))
}

fn parse_image_config(reference: &Reference, bytes: &[u8]) -> Result<ImageConfig, Cause> {
    parse_config(bytes).map_err(|error| broken(reference, &error.to_string()))
}

/// The manifest at which following indexes ended.
fn manifest_of(reference: &Reference, found: Document) -> Result<Manifest, Cause> {
    match found {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => {
            Err(broken(reference, &format!("its indexes are nested deeper than {MAX_INDEX_DEPTH} levels")))
        }
    }
}

/// The image for `platform`, or an index that does not say what it is for.
fn choose(reference: &Reference, index: &Index, platform: &Platform) -> Result<Descriptor, Cause> {
    let is_open =
        |entry: &&Descriptor| entry.platform.is_none() && matches!(entry.media_type.kind(), Kind::Index);
    if let Some(descriptor) = index.select(platform).or_else(|| index.manifests.iter().find(is_open)) {
        return Ok(descriptor.clone());
    }
    let known = index.manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
    let known: BTreeSet<String> = known.filter(|it| it.os != "unknown").map(ToString::to_string).collect();
    let hint = match known.is_empty() {
        true => "the index names no platforms".to_owned(),
        false => format!("it is there for {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let reason = format!("there is no image for platform `{platform}`");
    Err(Cause::Image { reference: reference.familiar(), reason, hint: Some(hint) })
}

fn broken(reference: &Reference, reason: &str) -> Cause {
    Cause::Image { reference: reference.familiar(), reason: reason.to_owned(), hint: None }
}

impl Image {
    fn check(&self) -> Result<(), Cause> {
        let (layers, diff_ids) = (self.manifest.layers.len(), self.diff_ids().len());
        if layers != diff_ids {
            let reason = format!("its manifest has {layers} layers and its configuration {diff_ids}");
            return Err(broken(&self.reference, &reason));
        }
        match self.manifest.layers.iter().find(|layer| !matches!(layer.media_type.kind(), Kind::Layer(_))) {
            Some(layer) => Err(broken(
                &self.reference,
                &format!("layers of type `{}` are not supported", layer.media_type),
            )),
            None => Ok(()),
        }
    }
}

/// Remembers which blobs the layers are said to be, and where they can be had.
fn remember(stores: &Stores, image: &Image) -> Result<(), Cause> {
    for (diff_id, descriptor) in image.diff_ids().iter().zip(&image.manifest.layers) {
        stores.store.layers.add_blob(diff_id, descriptor)?;
    }
    let digests: Vec<Digest> = image.manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
    Ok(stores.store.sources.add(&image.source(), &digests)?)
}
