//! What uses the disk, and giving back what nothing uses.

use std::time::SystemTime;

use kiln_cache::gc::{ImagePrune, PruneOptions as StorePrune};

use crate::{Engine, PruneReport, Result};

/// One line of `system df`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// `Images`, `Containers`, `Local Volumes` or `Build Cache`.
    pub kind: &'static str,
    /// How many there are.
    pub total: usize,
    /// How many are in use.
    pub active: usize,
    /// Bytes.
    pub size: u64,
    /// Bytes that a prune would free.
    pub reclaimable: u64,
}

/// What `system prune` takes away beside stopped containers, dangling images and the build cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// Images with a name that no container uses.
    pub all: bool,
    /// Anonymous volumes that no container uses.
    pub volumes: bool,
}

/// Kinds of what builds remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheKinds {
    /// Results of steps.
    pub results: bool,
    /// The directories of cache mounts.
    pub mounts: bool,
    /// Contexts that clients sent.
    pub received: bool,
}

impl Engine {
    /// What uses the disk.
    pub fn usage(&self) -> Result<Vec<Usage>> {
        let usage = self.store().usage()?;
        let line = |kind, amount: &kiln_cache::usage::Amount| Usage {
            kind,
            total: amount.count,
            active: amount.active,
            size: amount.bytes,
            reclaimable: amount.reclaimable,
        };
        let received = self.received_usage()?;
        let mut cache = line("Build Cache", &usage.build_cache);
        cache.total += received.total;
        cache.active += received.active;
        cache.size += received.bytes;
        cache.reclaimable += received.reclaimable;
        Ok(vec![
            line("Images", &usage.images),
            line("Containers", &usage.containers),
            line("Local Volumes", &usage.volumes),
            cache,
        ])
    }

    /// Removes what nothing uses.
    pub fn prune(&self, options: PruneOptions) -> Result<PruneReport> {
        let mut report = self.containers().prune()?;
        if options.volumes {
            add(&mut report, self.volumes().prune(false)?);
        }
        let images = if options.all { ImagePrune::Unused } else { ImagePrune::Dangling };
        let store = StorePrune { images, build_cache: true, cache_mounts: options.all, before: None };
        let pruned = self.store().prune(&store)?;
        report.reclaimed += self.prune_received()?.1;
        for image in pruned.images {
            report.deleted.extend(image.names.iter().map(|name| format!("untagged: {name}")));
            report.deleted.extend(image.config.iter().map(|id| format!("deleted: {id}")));
        }
        report.reclaimed += pruned.freed;
        Ok(report)
    }

    /// What builds remember, by kind: results, cache mounts, contexts that were received.
    pub fn cache_usage(&self) -> Result<[Usage; 3]> {
        let usage = self.store().usage()?;
        let (whole, mounts) = (usage.build_cache, usage.cache_mounts);
        let received = self.received_usage()?;
        let results = Usage {
            kind: "Build Results",
            total: whole.count.saturating_sub(mounts.count),
            active: whole.active,
            size: whole.bytes.saturating_sub(mounts.bytes),
            reclaimable: whole.reclaimable.saturating_sub(mounts.reclaimable),
        };
        let mounts = Usage {
            kind: "Cache Mounts",
            total: mounts.count,
            active: mounts.active,
            size: mounts.bytes,
            reclaimable: mounts.reclaimable,
        };
        let received = Usage {
            kind: "Contexts",
            total: received.total,
            active: received.active,
            size: received.bytes,
            reclaimable: received.reclaimable,
        };
        Ok([results, mounts, received])
    }

    /// Removes what builds remember and nobody used since `before`; where that is not said, contexts that were received go
    /// too. With `all` the directories of cache mounts as well. Bytes freed, and how many results are gone.
    pub fn prune_build_cache(&self, all: bool, before: Option<SystemTime>) -> Result<(u64, usize)> {
        let kinds = CacheKinds { results: true, mounts: all, received: before.is_none() };
        self.prune_cache(kinds, before)
    }

    /// Removes what builds remember of these kinds and nobody used since `before`, which is not asked about contexts that
    /// were received. Bytes freed, and how many results are gone.
    pub fn prune_cache(&self, kinds: CacheKinds, before: Option<SystemTime>) -> Result<(u64, usize)> {
        let pruned = match kinds.results || kinds.mounts {
            true => self.store().prune(&StorePrune {
                images: ImagePrune::default(),
                build_cache: kinds.results,
                cache_mounts: kinds.mounts,
                before,
            })?,
            false => kiln_cache::gc::Pruned::default(),
        };
        let received = if kinds.received { self.prune_received()?.1 } else { 0 };
        Ok((pruned.freed + received, pruned.records))
    }

    /// When results and cache mounts were last used, the longest ago first.
    pub fn cache_uses(&self) -> Result<Vec<SystemTime>> {
        Ok(self.store().last_uses()?)
    }

    /// Reads everything in the store again; what is broken, each as a line. `repair` removes it.
    pub fn check(&self, repair: bool) -> Result<Vec<String>> {
        Ok(self.store().check(repair)?.iter().map(ToString::to_string).collect())
    }
}

fn add(report: &mut PruneReport, more: PruneReport) {
    report.deleted.extend(more.deleted);
    report.reclaimed += more.reclaimed;
}
