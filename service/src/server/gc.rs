//! Keeps the build cache as small as the daemon's rules say.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_engine::config::buildkitd::GcPolicy;
use kiln_engine::usage::CacheKinds;
use kiln_engine::{CancellationToken, Engine, Result};

use super::limits::GC_INTERVAL;
use super::tenants::Tenants;
use crate::cache::space;
use crate::observe::Observer;

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
        let kinds = CacheKinds { results: true, mounts: rule.all, received: false };
        freed += space::shrink(engine, kinds, rule.keep.or(Some(Duration::ZERO)), &rule.space, now)?.0;
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use kiln_engine::config::buildkitd::{DiskSpace, GcSpace};

    use super::*;

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
        let before = space::used(&engine).unwrap();
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
        assert_eq!(space::used(&engine).unwrap(), before);
        sweep(&engine, &[rule(1)], later).unwrap();
        assert_eq!(space::used(&engine).unwrap(), 0);
    }
}
