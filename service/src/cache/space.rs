//! Making the build cache smaller, until it is within bounds.
//!
//! The store can take away what was not used for a time; so what was not used for the longest goes first, in steps, until the
//! rest is small enough.

use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_engine::config::buildkitd::{DiskSpace, GcSpace};
use kiln_engine::usage::CacheKinds;
use kiln_engine::{Engine, Result};
use rustix::fs::statvfs;

/// The most steps: what goes in one is the more, the more there is.
const MAX_STEPS: usize = 256;

/// Removes what is of these `kinds` and was not used within `keep`: all of it where there is no bound of space, and otherwise
/// no more than the bounds want, but for what goes in the last step. Bytes freed, and how many results are gone.
pub(crate) fn shrink(
    engine: &Engine,
    kinds: CacheKinds,
    keep: Option<Duration>,
    space: &GcSpace,
    now: SystemTime,
) -> Result<(u64, usize)> {
    let newest = keep.and_then(|keep| now.checked_sub(keep));
    if keep.is_some() && newest.is_none() {
        // Longer than time goes back.
        return Ok((0, 0));
    }
    // When a context was used is not asked.
    let kinds = CacheKinds { received: kinds.received && keep.is_none(), ..kinds };
    if is_unbounded(space) {
        return engine.prune_cache(kinds, newest);
    }
    let mut gone = (0, 0);
    let stored = CacheKinds { received: false, ..kinds };
    let received = CacheKinds { received: true, ..CacheKinds::default() };
    let steps =
        if stored == CacheKinds::default() { Vec::new() } else { steps(engine.cache_uses()?, newest) };
    let steps = steps.into_iter().map(|before| (stored, Some(before)));
    for (kinds, before) in steps.chain(kinds.received.then_some((received, None))) {
        let used = used(engine)?;
        if used == 0 || used <= goal(space, used, &Disk::of(&engine.config().root)) {
            break;
        }
        let (freed, results) = engine.prune_cache(kinds, before)?;
        gone = (gone.0 + freed, gone.1 + results);
    }
    Ok(gone)
}

fn is_unbounded(space: &GcSpace) -> bool {
    space.reserved.is_none() && space.max_used.is_none() && space.min_free.is_none()
}

/// The times before which something goes, up to `newest`.
fn steps(mut uses: Vec<SystemTime>, newest: Option<SystemTime>) -> Vec<SystemTime> {
    uses.retain(|used| newest.is_none_or(|newest| *used <= newest));
    let each = uses.len().div_ceil(MAX_STEPS).max(1);
    let last = uses.chunks(each).filter_map(|chunk| chunk.last().copied());
    // First what nothing needs any more: of that time is nothing.
    [SystemTime::UNIX_EPOCH].into_iter().chain(last).collect()
}

pub(crate) fn used(engine: &Engine) -> Result<u64> {
    let usage = engine.usage()?;
    Ok(usage.iter().find(|line| line.kind == "Build Cache").map_or(0, |line| line.size))
}

/// The disk that the state is on, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Disk {
    whole: u64,
    free: u64,
}

impl Disk {
    /// Where it cannot be asked, it has no end.
    fn of(path: &Path) -> Disk {
        match statvfs(path) {
            Ok(found) => {
                Disk { whole: found.f_blocks * found.f_frsize, free: found.f_bavail * found.f_frsize }
            }
            Err(_) => Disk { whole: u64::MAX, free: u64::MAX },
        }
    }
}

/// How much may stay of `used`: nothing where there is no bound.
fn goal(space: &GcSpace, used: u64, disk: &Disk) -> u64 {
    let bytes = |bound: Option<DiskSpace>| bound.map(|bound| bound.of(disk.whole));
    let lacking = bytes(space.min_free).unwrap_or(0).saturating_sub(disk.free);
    let room = (lacking > 0).then(|| used.saturating_sub(lacking));
    let most = [bytes(space.max_used), room].into_iter().flatten().min();
    match (most, bytes(space.reserved)) {
        // There is enough room, and no other bound.
        (None, None) if space.min_free.is_some() => used,
        (most, reserved) => most.unwrap_or(0).max(reserved.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_is_below_the_most_leaves_room_and_keeps_what_is_reserved() {
        let disk = Disk { whole: 1000, free: 100 };
        let space = |reserved: u64, most: u64, free: u64| {
            let bound = |bytes: u64| (bytes > 0).then_some(DiskSpace::Bytes(bytes));
            GcSpace { reserved: bound(reserved), max_used: bound(most), min_free: bound(free) }
        };
        for ((reserved, most, free), expected) in [
            ((0, 0, 0), 0),
            ((30, 0, 0), 30),
            ((0, 300, 0), 300),
            ((0, 0, 50), 500),
            ((0, 0, 150), 450),
            ((0, 300, 150), 300),
            ((0, 480, 150), 450),
            ((470, 480, 150), 470),
            ((0, 0, 900), 0),
            ((30, 0, 50), 30),
        ] {
            assert_eq!(goal(&space(reserved, most, free), 500, &disk), expected, "{reserved} {most} {free}");
        }
        let half = GcSpace { max_used: Some(DiskSpace::Percent(50)), ..GcSpace::default() };
        assert_eq!(goal(&half, 700, &disk), 500);
    }

    #[test]
    fn steps_are_few_and_leave_what_was_used_lately() {
        let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let uses: Vec<_> = (0..1000).map(at).collect();
        assert_eq!(steps(uses[1..3].to_vec(), None), uses[..3]);
        let many = steps(uses.clone(), None);
        assert!(many.len() <= MAX_STEPS + 1 && many.last() == Some(&at(999)));
        assert_eq!(steps(uses[1..].to_vec(), Some(at(1))), [at(0), at(1)]);
    }
}
