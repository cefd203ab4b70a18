//! The Docker Engine and BuildKit APIs and the Language Server Protocol over `engine`; the only crate that knows wire
//! formats.
#![forbid(unsafe_code)]

pub mod buildkit;
mod cache;
pub mod calls;
pub mod docker;
pub mod error;
pub mod lsp;
pub mod observe;
pub mod server;
