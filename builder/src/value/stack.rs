//! A stack of layers that shares what is below with every other stack that stands on it.

use std::sync::{Arc, OnceLock};

use kiln_cache::LayerRef;
use kiln_oci::ChainId;

/// Layers, lowest first. To put one more on top costs the same however many there are.
#[derive(Clone, Default)]
pub(super) struct Stack {
    top: Option<Arc<Node>>,
}

/// A layer and what is below it.
struct Node {
    layer: LayerRef,
    chain: ChainId,
    depth: usize,
    below: Stack,
    /// The whole stack in a row, where somebody asked for it.
    row: OnceLock<Box<[LayerRef]>>,
}

impl Stack {
    /// The same with `layer` on top.
    pub(super) fn push(&self, layer: LayerRef) -> Stack {
        let chain = ChainId::extend(self.chain(), &layer.diff_id);
        let (depth, below) = (self.len() + 1, self.clone());
        Stack { top: Some(Arc::new(Node { layer, chain, depth, below, row: OnceLock::new() })) }
    }

    /// How many layers there are.
    pub(super) fn len(&self) -> usize {
        self.top.as_ref().map_or(0, |top| top.depth)
    }

    /// The identity of all; `None` for no layers.
    pub(super) fn chain(&self) -> Option<&ChainId> {
        self.top.as_ref().map(|top| &top.chain)
    }

    /// All, lowest first.
    pub(super) fn row(&self) -> &[LayerRef] {
        match &self.top {
            None => &[],
            Some(top) => top.row.get_or_init(|| self.to_vec().into()),
        }
    }

    /// All, lowest first, which are not kept in a row.
    pub(super) fn to_vec(&self) -> Vec<LayerRef> {
        let mut layers = Vec::with_capacity(self.len());
        let mut next = &self.top;
        while let Some(node) = next {
            layers.push(node.layer.clone());
            next = &node.below.top;
        }
        layers.reverse();
        layers
    }
}

impl FromIterator<LayerRef> for Stack {
    fn from_iter<I: IntoIterator<Item = LayerRef>>(layers: I) -> Self {
        layers.into_iter().fold(Stack::default(), |stack, layer| stack.push(layer))
    }
}

impl Drop for Node {
    /// One after the other: a deep stack must not need as deep a call stack.
    fn drop(&mut self) {
        let mut next = self.below.top.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.below.top.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::{DiffId, Digest};

    fn layer(number: usize) -> LayerRef {
        LayerRef { diff_id: DiffId(Digest::of(number.to_string().as_bytes())), size: number as u64 }
    }

    #[test]
    fn a_stack_is_its_layers_and_their_chain() {
        let layers: Vec<LayerRef> = (0..4).map(layer).collect();
        let stack: Stack = layers.iter().cloned().collect();
        let ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        assert_eq!((stack.row(), stack.len()), (&layers[..], 4));
        assert_eq!(stack.chain(), ChainId::of(&ids).as_ref());
        assert!(Stack::default().row().is_empty() && Stack::default().chain().is_none());
    }

    #[test]
    fn stacks_on_one_stack_do_not_disturb_each_other() {
        let base = Stack::default().push(layer(0));
        let (left, right) = (base.push(layer(1)), base.push(layer(2)));
        drop(base);
        assert_eq!(left.row(), [layer(0), layer(1)]);
        assert_eq!(right.row(), [layer(0), layer(2)]);
    }

    #[test]
    fn a_stack_of_a_hundred_thousand_is_dropped() {
        let stack: Stack = (0..100_000).map(layer).collect();
        assert_eq!(stack.len(), 100_000);
        drop(stack);
    }
}
