//! Who we are to a registry.

use std::fmt;

mod challenge;
pub mod credentials;
mod helper;
pub(crate) mod token;

/// What a registry knows us by. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and its password.
    Basic {
        /// The user's name.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// An OAuth 2 refresh token, which Docker calls an identity token.
    IdentityToken(String),
    /// A ready bearer token, which Docker calls a registry token.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Basic { username, .. } => write!(f, "Basic {{ username: {username:?} }}"),
            Credential::IdentityToken(_) => f.write_str("IdentityToken"),
            Credential::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

/// Where credentials come from. Called on a blocking thread, so it may read files and start helpers.
pub trait Credentials: Send + Sync {
    /// The credential for exactly this host, as references name it (`docker.io`, `127.0.0.1:5000`).
    fn get(&self, host: &str) -> Option<Credential>;
}

/// No credentials for any host.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn get(&self, _host: &str) -> Option<Credential> {
        None
    }
}
