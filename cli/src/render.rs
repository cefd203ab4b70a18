//! Engine's values as people and scripts see them.

pub(crate) mod container;
pub(crate) mod diff;
mod health;
pub(crate) mod image;
pub(crate) mod metadata;
pub(crate) mod progress;
mod warnings;
