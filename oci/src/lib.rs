//! The nouns of OCI as immutable values, and their byte formats.
//!
//! Nothing here does I/O beyond the readers and writers it is handed.

#![forbid(unsafe_code)]

pub mod config;
pub mod digest;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use digest::{Algorithm, ChainId, DiffId, Digest, Digester, chain_ids};
pub use manifest::{Descriptor, Index, Manifest};
pub use media_type::{Compression, MediaType};
pub use platform::Platform;
pub use reference::Reference;
