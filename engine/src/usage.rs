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

    /// Removes what builds remember and nobody used since `before`; where that is not said, contexts that were received go
    /// too. With `all` the directories of cache mounts as well. Bytes freed, and how many results are gone.
    pub fn prune_build_cache(&self, all: bool, before: Option<SystemTime>) -> Result<(u64, usize)> {
        let pruned = self.store().prune(&StorePrune {
            images: ImagePrune::default(),
            build_cache: true,
            cache_mounts: all,
            before,
        })?;
        let received = if before.is_none() { self.prune_received()?.1 } else { 0 };
        Ok((pruned.freed + received, pruned.records))
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
