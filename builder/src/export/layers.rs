//! The layers of an image that is exported, as its manifest will name them.

use std::cell::OnceCell;
use std::io;
use std::sync::Arc;

use kiln_cache::{Growing, Lease, Resource, Store};
use kiln_oci::compression::Packing;
use kiln_oci::media_type::Kind;
use kiln_oci::{Compression, Descriptor, DiffId, MediaType};
use kiln_snapshot::{TarOptions, diff_trees, write_tar};

use super::options::Squash;
use crate::error::Cause;
use crate::value::Layers;
use crate::workspace::View;

/// In which form an image's layers are referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are: the blob they came as, else the plain tar, which nobody has to make.
    AsStored,
    /// As blobs packed so: those that came packed as they are, the others made where missing.
    Packed(Packing),
    /// As blobs packed so, whatever they came as.
    Repacked(Packing),
}

/// What becomes of the layers of one image.
#[derive(Debug, Clone, Copy)]
pub struct Reshape {
    /// The form that they get.
    pub form: Form,
    /// The latest time that a file of a layer above the base may have, in seconds.
    pub clamp: Option<i64>,
    /// Which layers become one.
    pub squash: Option<Squash>,
    /// How many of the lowest are the base's.
    pub base: usize,
    /// Whether each blob must be in the store, so that it can be read.
    pub readable: bool,
}

/// A layer as a configuration and a manifest name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// Its blob.
    pub descriptor: Descriptor,
}

impl Reshape {
    /// Nothing but the form.
    pub fn into_form(form: Form) -> Self {
        Reshape { form, clamp: None, squash: None, base: 0, readable: false }
    }

    /// How many of `count` layers stay layers of their own, and the others become one; `None` where none do.
    pub(super) fn kept(&self, count: usize) -> Option<usize> {
        let kept = match self.squash? {
            Squash::New => self.base.min(count),
            Squash::All => 0,
        };
        (count - kept > 1).then_some(kept)
    }
}

/// The layers of an image after `reshape`; blobs that are made for it are held by `lease`. Squashing, clamping and repacking
/// read files: the layers must be unpacked.
pub fn layers(
    store: &Arc<Store>,
    lease: &Lease,
    layers: &Layers,
    reshape: &Reshape,
) -> Result<Vec<ImageLayer>, Cause> {
    if let Some(chain) = layers.chain_id() {
        lease.hold(&Resource::Snapshot(kiln_cache::name_of(&chain)))?;
    }
    let source =
        Source { store, lease, layers, diff_ids: layers.diff_ids(), reshape, sizes: OnceCell::new() };
    let kept = reshape.kept(source.diff_ids.len());
    let mut made = Vec::with_capacity(source.diff_ids.len());
    for index in 0..kept.unwrap_or(source.diff_ids.len()) {
        let is_new = index >= reshape.base;
        made.push(match reshape.clamp.filter(|_| is_new) {
            Some(clamp) => source.clamped(index, clamp, &made)?,
            None => source.as_it_is(index, &mut |_| ())?,
        });
    }
    if let Some(kept) = kept {
        made.push(source.squashed(kept, &made)?);
    }
    Ok(made)
}

/// The blob of the layer `index` as [`layers()`] takes it, if that needs no other layer to be made first; where it is packed now,
/// `watch` gets it as it grows.
pub(super) fn ahead(
    store: &Arc<Store>,
    lease: &Lease,
    layers: &Layers,
    reshape: &Reshape,
    index: usize,
    watch: &mut dyn FnMut(Growing),
) -> Result<Descriptor, Cause> {
    let source =
        Source { store, lease, layers, diff_ids: layers.diff_ids(), reshape, sizes: OnceCell::new() };
    Ok(source.as_it_is(index, watch)?.descriptor)
}

struct Source<'a> {
    store: &'a Arc<Store>,
    lease: &'a Lease,
    layers: &'a Layers,
    diff_ids: Vec<DiffId>,
    reshape: &'a Reshape,
    /// The sizes of all, where somebody had to ask for one.
    sizes: OnceCell<Vec<u64>>,
}

impl Source<'_> {
    /// A layer with the content that it has, in the form that is wanted.
    fn as_it_is(&self, index: usize, watch: &mut dyn FnMut(Growing)) -> Result<ImageLayer, Cause> {
        let packed = |packing: Packing| {
            let stored = &self.store.layers;
            match self.reshape.form {
                Form::Repacked(_) => stored.own_blob_of(self.lease, &self.diff_ids, index, packing, watch),
                _ => stored.watched_blob_of(self.lease, &self.diff_ids, index, packing, watch),
            }
        };
        let descriptor = match self.reshape.form {
            Form::AsStored => self.came_as(index)?.map_or_else(|| self.plain(index), Ok)?,
            Form::Repacked(packing) => packed(packing)?,
            Form::Packed(packing) => match self.came_as(index)?.filter(|_| self.is_of_the_base(index)) {
                Some(blob) if !self.reshape.readable || self.is_here(&blob)? => blob,
                _ => packed(packing)?,
            },
        };
        Ok(ImageLayer { diff_id: self.diff_ids[index].clone(), descriptor: normal(&descriptor) })
    }

    fn is_of_the_base(&self, index: usize) -> bool {
        let of_image = self.layers.image().map_or(0, |image| image.manifest.layers.len());
        index < self.reshape.base.max(of_image)
    }

    /// The blob that a layer came as from elsewhere: what its image says, else one that is here.
    fn came_as(&self, index: usize) -> Result<Option<Descriptor>, Cause> {
        let diff_id = &self.diff_ids[index];
        let listed = self.layers.image().and_then(|image| image.manifest.layers.get(index).cloned());
        // A manifest of ours names a layer that nobody packed by its own digest.
        let came = listed.filter(|blob| blob.digest != diff_id.0);
        Ok(came.or(self.store.layers.foreign_blob(diff_id)?))
    }

    /// The plain tar of a layer, which need not be a blob.
    fn plain(&self, index: usize) -> Result<Descriptor, Cause> {
        // Of a layer that was never here it is not known, and written as 0.
        let size = match self.layers.stack()[index].size {
            0 => self.sizes()?[index],
            size => size,
        };
        Ok(Descriptor::new(MediaType::OCI_LAYER, self.diff_ids[index].0.clone(), size))
    }

    fn sizes(&self) -> Result<&[u64], Cause> {
        if let Some(sizes) = self.sizes.get() {
            return Ok(sizes);
        }
        let known = self.store.layers.get(&self.diff_ids)?;
        let layers = known.unwrap_or_else(|| self.layers.to_vec());
        Ok(self.sizes.get_or_init(|| layers.iter().map(|layer| layer.size).collect()))
    }

    fn is_here(&self, blob: &Descriptor) -> Result<bool, Cause> {
        self.lease.hold(&Resource::Blob(blob.digest.clone()))?;
        Ok(self.store.content.info(&blob.digest)?.is_some())
    }

    /// A layer with no file newer than `clamp`, over those that were `made`.
    fn clamped(&self, index: usize, clamp: i64, made: &[ImageLayer]) -> Result<ImageLayer, Cause> {
        let parent = identities(made);
        let chain = &self.diff_ids[..=index];
        let (layer, descriptor) =
            self.store.layers.clamped(self.lease, chain, &parent, clamp, self.packing())?;
        Ok(ImageLayer { diff_id: layer.diff_id, descriptor })
    }

    /// All layers from `kept` on as one: what the filesystem has over that of the lower ones.
    fn squashed(&self, kept: usize, made: &[ImageLayer]) -> Result<ImageLayer, Cause> {
        let top = View::of(self.store, self.layers)?;
        let lower = Layers::new(self.layers.stack()[..kept].to_vec());
        let lower = (kept > 0).then(|| View::of(self.store, &lower)).transpose()?;
        let (root, below) = (top.root()?, lower.as_ref().map(View::root).transpose()?);
        let changes = diff_trees(below.as_ref(), &root)?;
        let options = TarOptions { clamp_mtime: self.reshape.clamp, ..TarOptions::default() };
        let write = |out: &mut dyn io::Write| {
            write_tar(&changes, &root, out, &options).map(drop).map_err(io::Error::other)
        };
        let (layer, descriptor) =
            self.store.layers.make(self.lease, &identities(made), self.packing(), write)?;
        Ok(ImageLayer { diff_id: layer.diff_id, descriptor })
    }

    /// What new layers are packed with.
    fn packing(&self) -> Packing {
        match self.reshape.form {
            Form::Packed(packing) | Form::Repacked(packing) => packing,
            Form::AsStored => Packing::of(Compression::Gzip),
        }
    }
}

fn identities(layers: &[ImageLayer]) -> Vec<DiffId> {
    layers.iter().map(|layer| layer.diff_id.clone()).collect()
}

/// A layer's descriptor as an OCI manifest has it.
fn normal(descriptor: &Descriptor) -> Descriptor {
    let media_type = match descriptor.media_type.kind() {
        Kind::Layer(compression) => MediaType::layer(compression),
        _ => descriptor.media_type.clone(),
    };
    Descriptor::new(media_type, descriptor.digest.clone(), descriptor.size)
}
