//! What steps hand to each other: stacks of layers, and files read in place.

use std::fmt;
use std::sync::Arc;

use kiln_oci::{ChainId, Digest, DiffId};
use kiln_cache::layers::LayerRef;

use crate::context::LocalFiles;

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
#[derive(Clone, PartialEq, Eq)]
pub struct Layers(Arc<[LayerRef]>);

impl Layers {
    /// The empty filesystem.
    pub fn scratch() -> Layers {
        Layers(Arc::new([]))
    }

    /// A stack.
    pub fn new(stack: Vec<LayerRef>) -> Layers {
        Layers(stack.into())
    }

    /// The same with one more on top.
    pub fn push(&self, layer: LayerRef) -> Layers {
        Layers(self.0.iter().cloned().chain([layer]).collect())
    }

    /// The stack, lowest first.
    pub fn stack(&self) -> &[LayerRef] {
        &self.0
    }

    /// The identities of the stack.
    pub fn diff_ids(&self) -> Vec<DiffId> {
        self.0.iter().map(|layer| layer.diff_id.clone()).collect()
    }

    /// The identity of the whole; `None` for the empty filesystem.
    pub fn chain_id(&self) -> Option<ChainId> {
        ChainId::of(&self.diff_ids())
    }

    /// The identity of the whole as a digest.
    pub fn digest(&self) -> Digest {
        self.chain_id().map_or_else(|| Digest::of(b"scratch"), |chain| chain.0)
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|layer| layer.diff_id.0.short().to_owned())).finish()
    }
}
