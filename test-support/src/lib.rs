//! Fakes, tree and tar DSLs, an in-process registry and a probe binary, for tests.

#![forbid(unsafe_code)]

pub mod registry;
pub mod web;
