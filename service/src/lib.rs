//! The Docker Engine and BuildKit APIs over `engine`; the only crate that knows wire formats.
#![forbid(unsafe_code)]

pub mod error;
