//! What steps hand to each other: stacks of layers, and files read in place.

mod stack;

use std::fmt;
use std::sync::Arc;

use kiln_cache::{LayerRef, Lease};
use kiln_oci::{ChainId, DiffId, Digest};

use crate::context::LocalFiles;
use crate::pull::Image;
use stack::Stack;

/// What a step makes and others use.
#[derive(Debug, Clone)]
pub enum Value {
    /// A filesystem as a stack of layers.
    Layers(Layers),
    /// A directory outside the store.
    Files(Arc<LocalFiles>),
}

impl Value {
    /// What the value is as a whole.
    pub fn digest(&self) -> Digest {
        match self {
            Value::Layers(layers) => layers.digest(),
            Value::Files(files) => files.digest(),
        }
    }

    /// The layers; a directory has none.
    pub fn layers(&self) -> Option<&Layers> {
        match self {
            Value::Layers(layers) => Some(layers),
            Value::Files(_) => None,
        }
    }
}

/// A filesystem as a stack of layers, lowest first, whatever forms they are in. Cheap to clone.
#[derive(Clone)]
pub struct Layers {
    stack: Stack,
    /// The image that the lowest layers come from, where some of them may have to be fetched yet.
    image: Option<Arc<Image>>,
    /// Whether their snapshot is there and one of `leases` keeps it.
    held: bool,
    /// What keeps the layers from being collected.
    leases: Arc<[Arc<Lease>]>,
}

impl Layers {
    /// The empty filesystem.
    pub fn scratch() -> Layers {
        Layers::new(Vec::new())
    }

    /// A stack that is in the store.
    pub fn new(stack: Vec<LayerRef>) -> Layers {
        Layers::of(stack.into_iter().collect())
    }

    fn of(stack: Stack) -> Layers {
        Layers { stack, image: None, held: false, leases: Arc::new([]) }
    }

    /// The layers of an image. Sizes of layers that were never here are not known and are 0.
    pub fn of_image(image: Arc<Image>) -> Layers {
        let layer = |diff_id: &DiffId| LayerRef { diff_id: diff_id.clone(), size: 0 };
        let stack = image.config.rootfs.diff_ids.iter().map(layer).collect();
        Layers { image: Some(image), ..Layers::new(stack) }
    }

    /// The same with one more on top, kept by `lease` as long as the value lives.
    pub fn push(&self, layer: LayerRef, lease: Option<Arc<Lease>>) -> Layers {
        let (held, leases) = (lease.is_some(), lease.into_iter().collect());
        Layers { stack: self.stack.push(layer), image: self.image.clone(), held, leases }
    }

    /// The same with one more on top that has no snapshot yet; `lease` keeps the form that it has.
    pub fn push_packed(&self, layer: LayerRef, lease: Arc<Lease>) -> Layers {
        let leases = self.leases.iter().cloned().chain([lease]).collect();
        Layers { held: false, leases, ..self.push(layer, None) }
    }

    /// The lowest `count` layers, kept as these are.
    pub fn below(&self, count: usize) -> Layers {
        let (image, leases) = (self.image.clone(), self.leases.clone());
        let lowest = self.to_vec().into_iter().take(count).collect();
        Layers { image, leases, ..Layers::of(lowest) }
    }

    /// The layers of `top` over these.
    pub fn stacked(&self, top: &Layers) -> Layers {
        let stack = top.stack.to_vec().into_iter().fold(self.stack.clone(), |stack, layer| stack.push(layer));
        let leases = self.leases.iter().chain(top.leases.iter()).cloned().collect();
        Layers { image: self.image.clone(), leases, ..Layers::of(stack) }
    }

    /// The layers from `index` on without those below, which must have forms of their own; `lease` keeps those.
    pub fn above(&self, index: usize, lease: Arc<Lease>) -> Layers {
        let leases = self.leases.iter().cloned().chain([lease]).collect();
        Layers { leases, ..Layers::new(self.stack.to_vec().split_off(index)) }
    }

    /// The stack, lowest first; the value keeps it in a row from then on.
    pub fn stack(&self) -> &[LayerRef] {
        self.stack.row()
    }

    /// The stack, lowest first.
    pub fn to_vec(&self) -> Vec<LayerRef> {
        self.stack.to_vec()
    }

    /// The identities of the stack.
    pub fn diff_ids(&self) -> Vec<DiffId> {
        self.stack.to_vec().into_iter().map(|layer| layer.diff_id).collect()
    }

    /// The identity of the whole; `None` for the empty filesystem.
    pub fn chain_id(&self) -> Option<ChainId> {
        self.stack.chain().cloned()
    }

    /// The identity of the whole as a digest.
    pub fn digest(&self) -> Digest {
        self.chain_id().map_or_else(|| Digest::of(b"scratch"), |chain| chain.0)
    }

    /// Whether their snapshot is there and stays: the value was made by a step and keeps what it names.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// The image that the lowest layers come from, where it is known.
    pub fn image(&self) -> Option<&Arc<Image>> {
        self.image.as_ref()
    }
}

/// Two stacks are the same filesystem if their identities are the same.
impl PartialEq for Layers {
    fn eq(&self, other: &Layers) -> bool {
        self.stack.chain() == other.stack.chain()
    }
}

impl Eq for Layers {}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.diff_ids().iter().map(|id| id.0.short())).finish()
    }
}
