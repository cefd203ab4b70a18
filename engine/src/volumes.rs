//! Named and anonymous volumes.

use crate::{Engine, Error, PruneReport, Result};

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its directory on the host.
    pub mountpoint: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Labels in the order given.
    pub labels: Vec<(String, String)>,
    /// Whether nobody gave it a name.
    pub anonymous: bool,
}

/// The volumes of a state root.
#[derive(Debug, Clone, Copy)]
pub struct Volumes<'a> {
    pub(crate) engine: &'a Engine,
}

impl Volumes<'_> {
    /// Makes a volume, or gives the one of that name; without a name makes an anonymous one.
    pub fn create(&self, name: Option<&str>, labels: &[(String, String)]) -> Result<Volume> {
        let _ = (self.engine, name, labels);
        Err(Error::not_implemented("`volume create`"))
    }

    /// All volumes, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        Err(Error::not_implemented("`volume ls`"))
    }

    /// One volume.
    pub fn inspect(&self, name: &str) -> Result<Volume> {
        let _ = name;
        Err(Error::not_implemented("`volume inspect`"))
    }

    /// Removes a volume that no container uses. `force`: a missing one is no error.
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        let _ = (name, force);
        Err(Error::not_implemented("`volume rm`"))
    }

    /// Removes anonymous volumes (`all`: named ones, too) that no container uses.
    pub fn prune(&self, all: bool) -> Result<PruneReport> {
        let _ = all;
        Err(Error::not_implemented("`volume prune`"))
    }
}
