//! The networks that containers can be in.

use crate::{Engine, Error, Result};

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// 64 hex characters.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// Its addresses, such as `172.30.0.0/16`.
    pub subnet: Option<String>,
    /// The bridge's own address.
    pub gateway: Option<String>,
}

/// The networks of a state root.
#[derive(Debug, Clone, Copy)]
pub struct Networks<'a> {
    pub(crate) engine: &'a Engine,
}

impl Networks<'_> {
    /// All networks, by name.
    pub fn list(&self) -> Result<Vec<Network>> {
        let _ = self.engine;
        Err(Error::not_implemented("`network ls`"))
    }

    /// Removes this root's bridge, rules and control groups from the kernel; they come back when a container needs them.
    pub fn remove_all(&self) -> Result<()> {
        Err(Error::not_implemented("removing the network"))
    }
}
