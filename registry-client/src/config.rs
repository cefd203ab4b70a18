//! How each registry is reached, as buildkitd.toml's `[registry."host"]` tables say it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The configuration of all registries, by host as references name it (`docker.io`, `127.0.0.1:5000`).
pub type RegistryConfig = BTreeMap<String, HostConfig>;

/// One `[registry."host"]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Hosts to ask first, each optionally with a path that is put before the repository.
    pub mirrors: Vec<String>,
    /// Speak plain HTTP.
    pub http: Option<bool>,
    /// Accept any certificate.
    pub insecure: Option<bool>,
    /// Files of certificate authorities trusted beside the system's.
    pub ca: Vec<PathBuf>,
    /// Client certificates.
    pub keypair: Vec<Keypair>,
    /// Hosts of token servers outside the registry's own site that may be given its credentials.
    pub realms: Vec<String>,
}

/// A client certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keypair {
    /// The private key.
    pub key: PathBuf,
    /// The certificate chain.
    pub cert: PathBuf,
}
