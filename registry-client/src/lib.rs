//! The OCI distribution protocol, as a client.

#![forbid(unsafe_code)]

pub mod auth;
mod body;
mod client;
mod config;
mod download;
mod endpoint;
mod error;
mod origin;
mod pull;
mod push;
mod referrers;
mod resolve;
pub mod retry;
mod session;
mod stream;
mod tls;
mod transport;
mod upload;

pub use auth::{Credential, Credentials, NoCredentials};
pub use client::{Client, ClientOptions};
pub use config::{HostConfig, Keypair, RegistryConfig};
pub use download::{Content, Download, Downloaded, Validators};
pub use error::{ApiError, Error, ErrorKind, Result};
pub use pull::BlobStream;
pub use push::{BlobSource, Pushed};
pub use referrers::Listed;
pub use resolve::Resolved;
pub use retry::Limits;
