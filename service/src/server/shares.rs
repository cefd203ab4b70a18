//! How many connections one peer has: nobody takes all places.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// What each of many holds of something; one who holds nothing takes no memory.
pub(super) struct Shares<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Shares<K> {
        Shares(Arc::clone(&self.0))
    }
}

impl<K> Default for Shares<K> {
    fn default() -> Shares<K> {
        Shares(Arc::default())
    }
}

impl<K: Copy + Eq + Hash> Shares<K> {
    /// One more for `holder`, who may have `most` at one time; given back with the value.
    pub(super) fn take(&self, holder: K, most: usize) -> Option<Share<K>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(holder).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share { all: self.clone(), holder })
    }
}

/// One that is held.
pub(super) struct Share<K: Copy + Eq + Hash> {
    all: Shares<K>,
    holder: K,
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

impl<K: Copy + Eq + Hash> fmt::Debug for Share<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_at_one_time_and_nothing_is_kept_of_who_has_none() {
        let shares = Shares::default();
        let held: Vec<_> = (0..3).map_while(|_| shares.take("ann", 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(shares.take("bob", 2).is_some(), "what one has is nothing to another");
        drop(held);
        assert!(shares.take("ann", 1).is_some());
        assert!(shares.0.lock().unwrap().is_empty());
    }
}
