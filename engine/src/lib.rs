//! The facade that both faces use: images, builds, containers, volumes and networks as plain data in and out.
#![forbid(unsafe_code)]

pub mod attach;
pub mod config;
pub mod containers;
pub mod error;
pub mod exec;
pub mod logs;
pub mod networks;
pub mod supervisor;
pub mod volumes;

use std::sync::Arc;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};

/// What a prune took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Names or ids of what is gone.
    pub deleted: Vec<String>,
    /// Bytes freed.
    pub reclaimed: u64,
}

/// kiln itself: a state root and what can be done in it. Cheap to open and to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
}

impl Engine {
    /// Opens the state root that `config` names, and makes it where there is none.
    pub fn open(config: Config) -> Result<Engine> {
        Ok(Engine { inner: Arc::new(Inner { config }) })
    }

    /// What the engine was told at its start.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The containers.
    pub fn containers(&self) -> containers::Containers<'_> {
        containers::Containers { engine: self }
    }

    /// The volumes.
    pub fn volumes(&self) -> volumes::Volumes<'_> {
        volumes::Volumes { engine: self }
    }

    /// The networks.
    pub fn networks(&self) -> networks::Networks<'_> {
        networks::Networks { engine: self }
    }
}
