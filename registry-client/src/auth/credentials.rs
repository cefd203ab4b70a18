//! Docker's `config.json`: reading, writing, and the helpers it names.

use std::path::{Path, PathBuf};

use super::{Credential, Credentials};

/// The key under which Docker keeps the credential of Docker Hub.
pub const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Why credentials cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read or written.
    #[error("cannot access `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The credentials in a `config.json` and in the helpers it names.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
}

impl DockerConfig {
    /// The credentials in the file at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        DockerConfig { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The credential for `host`.
    pub fn load(&self, host: &str) -> Result<Option<Credential>, CredentialsError> {
        let _ = host;
        todo!()
    }

    /// Remembers `credential` for `host`, in a helper where the file names one.
    pub fn store(&self, host: &str, credential: &Credential) -> Result<(), CredentialsError> {
        let _ = (host, credential);
        todo!()
    }

    /// Forgets the credential for `host`; whether there was one.
    pub fn erase(&self, host: &str) -> Result<bool, CredentialsError> {
        let _ = host;
        todo!()
    }
}

impl Credentials for DockerConfig {
    fn get(&self, host: &str) -> Option<Credential> {
        self.load(host).ok().flatten()
    }
}
