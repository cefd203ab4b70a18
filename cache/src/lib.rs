//! Everything remembered on disk: blobs, images, layers, build results, leases.
//!
//! One [`Store`] is one root directory, which any number of processes may use at the same time. What is true is in its
//! database and on its disk, never only in memory.
//!
//! - [`content`]: bytes by digest, visible only whole and verified
//! - [`images`]: names to images
//! - [`layers`]: layers as blobs and as snapshots, each made of the other when it is needed
//! - [`referrers`]: what is said about images
//! - [`records`]: build results by cache key
//! - [`lease`]: what running processes need, and the recovery of what dead ones left
//! - [`gc`]: what nothing needs goes
//! - [`sync`]: when things are durable

#![forbid(unsafe_code)]

pub mod cache_dirs;
pub mod check;
pub mod content;
pub mod context_index;
mod db;
mod error;
pub mod gc;
pub mod images;
pub mod layers;
pub mod lease;
mod meta;
pub mod objects;
mod reach;
pub mod records;
pub mod referrers;

pub mod sources;
mod store;
pub mod sync;
pub mod usage;

pub use cache_dirs::{CacheDir, CacheDirId, CacheDirs, Sharing};
pub use check::Problem;
pub use content::{Growing, GrowingReader, Info, Ingest, LocalContent};
pub use context_index::{ContextIndex, ContextIndexes, DirIndex};
pub use db::Db;
pub use error::{Error, Result};
pub use gc::{ImagePrune, PruneOptions, Pruned};
pub use images::{Image, ImageStore};
pub use layers::unpack::Arriving;
pub use layers::{Counts, Known, LayerRef, LayerStore, name_of};
pub use lease::{Cleanup, Lease, Leases, Recovered, Resource};
pub use objects::{Object, Objects};
pub use records::{BuildCache, Part, Record};
pub use referrers::Referrers;
pub use sources::{Source, Sources};
pub use store::{SnapshotterKind, Store, StoreOptions};
pub use sync::Syncer;
pub use usage::{Amount, Usage};
