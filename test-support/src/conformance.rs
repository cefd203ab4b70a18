//! The conformance cases: small Dockerfiles whose images kiln and other builders must make alike.
//!
//! A case is text and files ([`Case`]), its result a [`Picture`]: what the image means, one line a fact, with
//! nothing that differs from build to build. `cargo xtask conformance` compares pictures between builders; the
//! end-to-end test compares kiln's with the recorded ones.

mod case;
mod context;
mod picture;
mod recorded;
mod tree;
mod work;

pub use case::{Case, FileSpec, Special, load};
pub use context::{MTIME, write_context};
pub use picture::{Built, Picture};
pub use recorded::Recorded;
pub use work::{for_each, options};
