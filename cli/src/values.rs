//! The small languages inside arguments: sizes, ports, mounts, environments, times.

pub(crate) mod annotation;
pub(crate) mod assignment;
pub(crate) mod attest;
pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod mount;
pub(crate) mod output;
pub(crate) mod platform;
pub(crate) mod port;
pub(crate) mod quantity;
pub(crate) mod run_option;
pub(crate) mod secret;
pub(crate) mod ssh;
pub(crate) mod target;
pub(crate) mod time;

use kiln_engine::{Error, Result};

/// The error of an argument: which option, what was written, why it is wrong.
pub(crate) fn wrong<T>(option: &str, text: &str, why: impl std::fmt::Display) -> Result<T> {
    Err(Error::invalid(format!("`{option} {text}`: {why}")))
}
