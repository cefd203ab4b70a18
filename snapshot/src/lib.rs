//! Filesystem states as mounts, and both directions between a state and a layer tar.
//!
//! A [`Snapshotter`] keeps directories that stack into root filesystems; [`apply()`] turns a layer tar into such
//! a directory, [`diff`] and [`write_tar()`] turn it back, [`checksum`] names what a tree holds, and [`copy`]
//! moves files between two trees. Everything works beneath directory descriptors: no path of an image is ever
//! given to the host's root.
#![forbid(unsafe_code)]

pub mod apply;
mod attributes;
pub mod checksum;
pub mod compare;
pub mod contents;
pub mod copy;
pub mod diff;
mod directories;
mod error;
pub mod filter;
pub mod host;
pub mod meta;
mod native;
mod overlay;
mod path;
mod read_tar;
pub mod recipe;
mod scan;
mod snapshotter;
pub mod testsuite;
mod tree;
mod walk;
pub mod write_tar;
mod writers;
pub mod xattrs;

pub use apply::{Applied, ApplyOptions, Piece, Same, apply, apply_pieces};
pub use diff::{Change, ChangeKind, Changes, Metadata, Node, diff_trees, diff_upper, list_file, list_tree};
pub use error::{Error, Result};
pub use host::{detached_root, sync_filesystem};
pub use meta::{MemoryMeta, MetaStore};
pub use native::NativeSnapshotter;
pub use overlay::{MAX_LOWERS, OverlaySnapshotter};
pub use recipe::{Draft, Recipe, Shape};
pub use snapshotter::{Info, Key, Kind, Name, Snapshotter, Usage};
pub use write_tar::{TarOptions, TarStats, TarWriter, write_tar};

/// The directory beneath which layers are unpacked and packed.
pub use kiln_sys::fs::Root;
