//! Keeps the build cache as small as the daemon's rules say.
//!
//! The store can take away what was not used for a time; so what was not used for the longest goes first, in steps, until the
//! rest is small enough.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_engine::config::buildkitd::{GcPolicy, GcSpace};
use kiln_engine::{CancellationToken, Engine, Result};
use rustix::fs::statvfs;

use super::limits::GC_INTERVAL;
use super::tenants::Tenants;
use crate::observe::Observer;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// How long something was not used, in seconds, from step to step.
const AGES: [u64; 17] = [
    60 * DAY,
    45 * DAY,
    30 * DAY,
    21 * DAY,
    14 * DAY,
    10 * DAY,
    7 * DAY,
    5 * DAY,
    3 * DAY,
    2 * DAY,
    DAY,
    12 * HOUR,
    6 * HOUR,
    3 * HOUR,
    HOUR,
    600,
    0,
];

/// Looks after builds, for as long as the daemon runs.
pub(super) async fn run(
    tenants: Tenants,
    observer: Arc<Observer>,
    rules: Vec<GcPolicy>,
    stop: CancellationToken,
) {
    let mut swept = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(GC_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        let ended = observer.builds();
        // Without a build nothing was added since.
        if swept == Some(ended) {
            continue;
        }
        swept = Some(ended);
        for daemon in tenants.daemons() {
            let (engine, rules) = (daemon.engine.clone(), rules.clone());
            let done = tokio::task::spawn_blocking(move || sweep(&engine, &rules, SystemTime::now())).await;
            match done {
                Ok(Ok(0)) => {}
                Ok(Ok(freed)) => tracing::info!(freed, "the build cache was made smaller"),
                Ok(Err(error)) => {
                    tracing::warn!(error = error.chain(), "the build cache cannot be made smaller");
                }
                Err(error) => tracing::error!(%error, "making the build cache smaller broke off"),
            }
        }
    }
}

/// Does what each rule says; bytes freed.
fn sweep(engine: &Engine, rules: &[GcPolicy], now: SystemTime) -> Result<u64> {
    let mut freed = 0;
    // What kind of thing something is, is not kept: a rule for some kinds would take all.
    for rule in rules.iter().filter(|rule| rule.filters.is_empty()) {
        for age in ages(rule.keep) {
            let used = used(engine)?;
            if used == 0 || used <= goal(&rule.space, used, &Disk::of(&engine.config().root)) {
                break;
            }
            let before = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
            freed += engine.prune_build_cache(rule.all, Some(before))?.0;
        }
    }
    Ok(freed)
}

/// The steps of a rule: what was used within `keep` stays.
fn ages(keep: Option<Duration>) -> impl Iterator<Item = Duration> {
    let keep = keep.unwrap_or_default();
    let longer = AGES.map(Duration::from_secs).into_iter().filter(move |age| *age > keep);
    longer.chain([keep])
}

fn used(engine: &Engine) -> Result<u64> {
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
    let bytes =
        |bound: Option<kiln_engine::config::buildkitd::DiskSpace>| bound.map(|bound| bound.of(disk.whole));
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
    use kiln_engine::config::buildkitd::DiskSpace;

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
    fn what_was_used_lately_stays() {
        let last = |keep: u64| ages(Some(Duration::from_secs(keep))).last().unwrap().as_secs();
        assert_eq!((last(0), last(90 * DAY), last(5000)), (0, 90 * DAY, 5000));
        let all: Vec<_> = ages(None).collect();
        assert!(all.windows(2).all(|pair| pair[0] >= pair[1]), "the longest first");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cache_beyond_its_bound_goes_and_one_within_stays() {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("context");
        std::fs::create_dir(&context).unwrap();
        std::fs::write(
            context.join("Dockerfile"),
            "FROM scratch AS one\nCOPY big /\nFROM scratch\nCOPY --from=one /big /b\n",
        )
        .unwrap();
        std::fs::write(context.join("big"), vec![7; 100_000]).unwrap();
        let engine = Engine::open(kiln_engine::Config::new(folder.path().join("state"))).unwrap();
        let request = kiln_engine::build::BuildRequest {
            context: kiln_engine::build::Context::Folder(context),
            ..Default::default()
        };
        engine.build(request, std::sync::Arc::new(|_| {}), CancellationToken::new()).await.unwrap();
        let before = used(&engine).unwrap();
        assert!(before > 0);
        let rule = |most: u64| GcPolicy {
            space: GcSpace { max_used: Some(DiskSpace::Bytes(most)), ..GcSpace::default() },
            all: true,
            ..GcPolicy::default()
        };
        let later = SystemTime::now() + Duration::from_secs(1);
        assert_eq!(sweep(&engine, &[rule(1 << 40)], later).unwrap(), 0);
        let filtered = GcPolicy { filters: vec!["type==source.local".to_owned()], ..rule(1) };
        let lately = GcPolicy { keep: Some(Duration::from_secs(60)), ..rule(1) };
        assert_eq!(sweep(&engine, &[filtered, lately], later).unwrap(), 0);
        assert_eq!(used(&engine).unwrap(), before);
        sweep(&engine, &[rule(1)], later).unwrap();
        assert_eq!(used(&engine).unwrap(), 0);
    }
}
