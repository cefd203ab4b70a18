//! What the engine is told at its start.

use std::path::PathBuf;

/// The engine's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The state root.
    pub root: PathBuf,
}
