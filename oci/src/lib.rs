//! The nouns of OCI as immutable values, and their byte formats.
//!
//! Nothing here does I/O beyond the readers and writers it is handed.

#![forbid(unsafe_code)]

pub mod archive;
pub mod compression;
pub mod config;
pub mod digest;
pub mod image;
pub mod layout;
pub mod manifest;
pub mod media_type;
pub mod mutate;
pub mod parse;
pub mod platform;
pub mod rebase;
pub mod reference;
pub mod validate;
pub mod verify;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use digest::{Algorithm, ChainId, DiffId, Digest, Digester, chain_ids};
pub use image::Image;
pub use manifest::{Descriptor, Index, Manifest};
pub use media_type::{Compression, MediaType};
pub use parse::Document;
pub use platform::Platform;
pub use reference::Reference;
pub use verify::VerifyReader;
