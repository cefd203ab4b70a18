//! The OCI distribution protocol, as a client.

#![forbid(unsafe_code)]

pub mod auth;
mod client;
mod config;
mod error;
mod pull;
mod push;
mod resolve;

pub use auth::{Credential, Credentials, NoCredentials};
pub use client::{Client, ClientOptions, Limits};
pub use config::{HostConfig, Keypair, RegistryConfig};
pub use error::{ApiError, Error, ErrorKind, Result};
pub use pull::BlobStream;
pub use push::{BlobSource, Pushed};
pub use resolve::Resolved;
