//! The build cache as clients of both APIs see it: records of a few kinds, filters that choose them, bounds they are kept in.

pub(crate) mod filter;
pub(crate) mod space;

use kiln_engine::usage::CacheKinds;
use kiln_engine::{Engine, Result};

pub(crate) use filter::Filters;

/// A kind of what builds remember, told as one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: &'static str,
    /// In BuildKit's words.
    pub(crate) kind: &'static str,
    pub(crate) description: String,
    pub(crate) mutable: bool,
    pub(crate) in_use: bool,
    /// Bytes.
    pub(crate) size: u64,
    /// How many things it stands for.
    pub(crate) count: usize,
}

/// The records of all kinds; those too that stand for nothing.
pub(crate) fn records(engine: &Engine) -> Result<[Record; 3]> {
    let [results, mounts, received] = engine.cache_usage()?;
    let record = |id, kind, mutable, what, usage: kiln_engine::usage::Usage| Record {
        id,
        kind,
        mutable,
        description: format!("{} {what}", usage.total),
        in_use: usage.active > 0 && usage.reclaimable == 0,
        size: usage.size,
        count: usage.total,
    };
    Ok([
        record("kiln-build-cache", "regular", false, "results that builds remember", results),
        record("kiln-cache-mounts", "exec.cachemount", true, "directories of cache mounts", mounts),
        record("kiln-contexts", "source.local", true, "contexts that clients sent", received),
    ])
}

/// What a prune may take away: all kinds that the filters choose. Cache mounts are costly to make again: without `all` they
/// go only where the filters choose by kind.
pub(crate) fn chosen(records: &[Record; 3], filters: &Filters, all: bool) -> CacheKinds {
    let [results, mounts, received] = records.each_ref().map(|record| filters.take(record));
    CacheKinds { results, mounts: mounts && (all || filters.choose_kinds()), received }
}
