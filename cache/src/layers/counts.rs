//! How often forms of layers were made.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one [`LayerStore`](super::LayerStore) made since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Layers that were packed of what was described, without a directory.
    pub described: u64,
    /// Layers that were made of the directory that a step wrote.
    pub committed: u64,
    /// Packed layers that were unpacked into a directory.
    pub unpacked: u64,
    /// Layers that were compressed, or packed anew.
    pub packed: u64,
    /// Files that became hard links to those of an earlier layer when theirs was unpacked.
    pub linked: u64,
    /// Pieces of packed layers that were taken from earlier ones and not compressed again.
    pub taken: u64,
    /// Files of described layers whose bytes were read in the tar of an earlier one, and not where they are.
    pub repeated: u64,
}

/// [`Counts`] in the making.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) described: AtomicU64,
    pub(super) committed: AtomicU64,
    pub(super) unpacked: AtomicU64,
    pub(super) packed: AtomicU64,
    pub(super) linked: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) repeated: AtomicU64,
}

impl Counters {
    pub(super) fn now(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            described: get(&self.described),
            committed: get(&self.committed),
            unpacked: get(&self.unpacked),
            packed: get(&self.packed),
            linked: get(&self.linked),
            taken: get(&self.taken),
            repeated: get(&self.repeated),
        }
    }
}

/// Counts one more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
