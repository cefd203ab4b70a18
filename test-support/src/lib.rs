//! Fakes, tree and tar DSLs, an in-process registry, a probe binary and the conformance cases, for tests.

#![forbid(unsafe_code)]

pub mod conformance;
pub mod registry;
pub mod web;
