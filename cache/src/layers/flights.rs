//! One piece of work at a time for each key, among the threads of a process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::db::lock;

/// The keys that somebody works on.
#[derive(Debug, Default)]
pub(super) struct Flights {
    keys: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl Flights {
    /// Runs `work` when nobody else runs with the same key. What the first one made, the next ones find.
    pub(super) fn run<T>(&self, key: &str, work: impl FnOnce() -> T) -> T {
        let turn = Arc::clone(lock(&self.keys).entry(key.to_owned()).or_default());
        let value = {
            let _turn = lock(&turn);
            work()
        };
        let mut keys = lock(&self.keys);
        // Two are ours and the map's: nobody waits.
        if Arc::strong_count(&turn) <= 2 {
            keys.remove(key);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let (flights, inside, most) = (Flights::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..200).for_each(|_| flights.run("key", work)));
            }
        });
        assert_eq!(most.into_inner(), 1);
        assert!(lock(&flights.keys).is_empty());
    }
}
