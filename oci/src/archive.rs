//! The tar of `save` and `load`: Docker's and OCI's format at once.

mod read;
mod write;

pub use read::{Archive, ArchiveError, LoadedImage, LoadedLayer};
pub use write::{Blobs, SavedImage, write};
