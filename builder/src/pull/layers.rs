//! The layers of an image: downloaded beside each other, unpacked as soon as those beneath are there.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kiln_cache::{Arriving, Lease, Resource};
use kiln_oci::{Descriptor, Reference};
use kiln_registry_client::BlobStream;
use tokio::sync::{Semaphore, mpsc};

use super::{Image, report};
use crate::error::Cause;
use crate::progress::Reporter;
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::Layers;

/// How many layers are downloaded at once.
const PARALLEL: usize = 4;
/// Pieces of a blob that wait between the network and the disk.
const PIECES: usize = 16;
/// Bytes between two reports of progress.
const REPORT_EVERY: u64 = 512 << 10;

/// Makes the snapshot of `layers` be there, downloading what is nowhere on this machine.
pub async fn unpack(stores: &Arc<Stores>, layers: &Layers, reporter: &dyn Reporter) -> Result<(), Cause> {
    let Some(chain) = layers.chain_id().filter(|_| !layers.is_held()) else { return Ok(()) };
    let (store, names) = (stores.store.clone(), stores.store.clone());
    let ready = move || {
        let there = names.snapshots.stat(&kiln_cache::name_of(&chain));
        Ok(there.is_ok_and(|info| info.is_some()))
    };
    if blocking(ready).await? {
        return Ok(());
    }
    let lease = Arc::new(store.leases.create()?);
    if let Some(image) = layers.image() {
        fetch(stores, image, &lease, reporter).await?;
    }
    let ids = layers.diff_ids();
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
    stores.store.layers.check_depth(image.diff_ids())?;
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
            if new && !is_ours(stores, image, index)? {
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

/// Whether a layer was made here on nothing, so that it is put on the others when they are there. A manifest of ours names
/// a layer that nobody packed by its own digest.
fn is_ours(stores: &Stores, image: &Image, index: usize) -> Result<bool, Cause> {
    let diff_id = &image.diff_ids()[index];
    let plain = image.manifest.layers[index].digest == diff_id.0;
    Ok(plain && stores.store.layers.stands_alone(diff_id)?)
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
