//! The build cache taken away at a client's wish, within the bounds that it sets.

use std::time::SystemTime;

use kiln_engine::config::buildkitd::{GcPolicy, GcSpace};
use kiln_engine::{Engine, Result};

use crate::server::gc;

/// Does what `wish` says; bytes freed, and how many results of builds are gone. Without bounds of space all goes that was not
/// used lately, and with no bound at all contexts that were received too.
pub(crate) fn build_cache(engine: &Engine, wish: &GcPolicy) -> Result<(u64, usize)> {
    if wish.space != GcSpace::default() {
        return gc::prune(engine, wish, SystemTime::now());
    }
    let before = wish.keep.and_then(|keep| SystemTime::now().checked_sub(keep));
    engine.prune_build_cache(wish.all, before)
}
