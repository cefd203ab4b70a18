//! An image of layers and a configuration, and the exporter that puts it into the store.

use kiln_cache::{Lease, Resource, Store};
use kiln_oci::media_type::Kind;
use kiln_oci::{
    ChainId, Compression, Descriptor, DiffId, History, ImageConfig, Manifest, MediaType, Reference, chain_ids,
};

use super::time;
use crate::error::Cause;
use crate::value::Layers;

/// In which form an image's layers are referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are: the blob they came as, else the plain tar, which nobody has to make.
    AsStored,
    /// As blobs of this compression, made where missing.
    Packed(Compression),
}

/// An image's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub bytes: Vec<u8>,
    /// What points to the manifest.
    pub descriptor: Descriptor,
    /// The configuration's bytes.
    pub config: Vec<u8>,
}

/// Makes the documents of an image and stores them. `config` has the history, with entries that make no layer marked;
/// its `diff_ids` are filled in here, and so are missing times: a layer's is when it was made, so that a build that was
/// remembered gives the same image. `epoch` replaces them all.
pub fn compose(
    store: &Store,
    lease: &Lease,
    layers: &Layers,
    config: &ImageConfig,
    form: Form,
    epoch: Option<i64>,
) -> Result<Composed, Cause> {
    let diff_ids = layers.diff_ids();
    let descriptors = descriptors(store, lease, layers, form)?;
    let mut config = config.clone();
    config.history = history(store, &config, &diff_ids, epoch)?;
    config.created = config.history.last().and_then(|entry| entry.created.clone()).or(config.created);
    config.rootfs.diff_ids = diff_ids;
    let config = config.to_bytes();
    let config_descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config);
    let manifest = Manifest::new(config_descriptor, descriptors);
    let bytes = manifest.to_bytes();
    let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &bytes);
    for (descriptor, bytes) in [(&manifest.config, &config), (&descriptor, &bytes)] {
        lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
        store.content.put(descriptor.media_type.clone(), bytes)?;
    }
    Ok(Composed { manifest, bytes, descriptor, config })
}

/// Names the image (a manifest or an index) in the store, or adds it without a name; the names as they are now.
pub fn store_image(store: &Store, image: &Descriptor, names: &[Reference]) -> Result<Vec<Reference>, Cause> {
    let names: Vec<Reference> =
        names.iter().map(|name| name.clone().with_default_tag().without_digest()).collect();
    // Adding waits for the disk; an image that is there already does not.
    let digest = image.digest.as_str();
    if names.is_empty() && !(store.images.find(digest).is_ok() && store.syncer.is_synced()?) {
        store.images.add(image)?;
    }
    for name in &names {
        store.images.set(&name.to_string(), image)?;
    }
    Ok(names)
}

fn descriptors(store: &Store, lease: &Lease, layers: &Layers, form: Form) -> Result<Vec<Descriptor>, Cause> {
    let diff_ids = layers.diff_ids();
    if let Some(chain) = layers.chain_id() {
        lease.hold(&Resource::Snapshot(kiln_cache::name_of(&chain)))?;
    }
    let sizes = match form {
        Form::AsStored => store.layers.get(&diff_ids)?,
        Form::Packed(_) => None,
    };
    let one = |index: usize| match form {
        Form::Packed(compression) => {
            Ok(normal(&store.layers.blob_of(lease, &diff_ids, index, compression)?))
        }
        Form::AsStored => {
            let stored = store.layers.blobs(&diff_ids[index])?.into_iter().next();
            let fetched = layers.image().and_then(|image| image.manifest.layers.get(index).cloned());
            let plain = || {
                let size = sizes.as_ref().map_or(layers.stack()[index].size, |sizes| sizes[index].size);
                Descriptor::new(MediaType::OCI_LAYER, diff_ids[index].0.clone(), size)
            };
            Ok(stored.or(fetched).map_or_else(plain, |blob| normal(&blob)))
        }
    };
    (0..diff_ids.len()).map(one).collect()
}

/// A layer's descriptor as an OCI manifest has it.
fn normal(descriptor: &Descriptor) -> Descriptor {
    let media_type = match descriptor.media_type.kind() {
        Kind::Layer(compression) => MediaType::layer(compression),
        _ => descriptor.media_type.clone(),
    };
    Descriptor::new(media_type, descriptor.digest.clone(), descriptor.size)
}

/// The history with a time for each entry, and as many entries that make a layer as there are layers.
fn history(
    store: &Store,
    config: &ImageConfig,
    diff_ids: &[DiffId],
    epoch: Option<i64>,
) -> Result<Vec<History>, Cause> {
    let mut chains = chain_ids(diff_ids).into_iter().zip(diff_ids);
    let mut last = config.created.clone();
    let mut history = config.history.clone();
    for entry in &mut history {
        let chain = if entry.empty_layer { None } else { chains.next() };
        if entry.created.is_none() {
            entry.created = match (epoch, chain) {
                (Some(epoch), _) => Some(time::of_epoch(epoch)),
                (None, Some((chain, diff_id))) => made(store, &chain, diff_id)?.or(last),
                (None, None) => last,
            };
        }
        last = entry.created.clone();
    }
    // A base may say less of its history than it has layers; readers match the two by counting.
    let missing = chains.map(|_| History { created: last.clone(), ..History::default() });
    Ok(history.iter().cloned().chain(missing).collect())
}

/// When a layer was made: what was made on nothing and put here later was made then.
fn made(store: &Store, chain: &ChainId, diff_id: &DiffId) -> Result<Option<String>, Cause> {
    let created = |chain: &ChainId| store.snapshots.stat(&kiln_cache::name_of(chain));
    let found = [created(chain)?, created(&ChainId::extend(None, diff_id))?];
    Ok(found.into_iter().flatten().map(|info| info.created).min().map(time::rfc3339))
}
