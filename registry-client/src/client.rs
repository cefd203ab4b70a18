//! The client: what it is made of and the requests it offers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kiln_oci::{Descriptor, MediaType, Reference};

use crate::{
    BlobSource, BlobStream, Credential, Credentials, NoCredentials, Pushed, RegistryConfig, Resolved, Result,
};

/// What a client is made with.
#[derive(Clone)]
pub struct ClientOptions {
    /// How each registry is reached.
    pub config: RegistryConfig,
    /// Who we are.
    pub credentials: Arc<dyn Credentials>,
    /// What we call ourselves.
    pub user_agent: String,
    /// How long and how often things are tried.
    pub limits: Limits,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            config: RegistryConfig::new(),
            credentials: Arc::new(NoCredentials),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
        }
    }
}

/// How long and how often things are tried.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Without a byte for so long, a request counts as stalled.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { stall: Duration::from_secs(30) }
    }
}

/// A client of OCI registries. Cheap to clone; all clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    options: Arc<ClientOptions>,
}

impl Client {
    /// A client. Nothing is contacted or loaded yet.
    pub fn new(options: ClientOptions) -> Self {
        Client { options: Arc::new(options) }
    }

    /// Finds the manifest or index that `reference` names, verified.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved> {
        let _ = (reference, &self.options);
        todo!()
    }

    /// The bytes of the manifest or index that `descriptor` names, verified.
    pub async fn manifest(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Bytes> {
        let _ = (reference, descriptor);
        todo!()
    }

    /// The content of a blob, verified: the stream ends in an error if digest or size differ.
    pub async fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobStream> {
        let _ = (reference, descriptor);
        todo!()
    }

    /// Whether the repository has the blob.
    pub async fn blob_exists(&self, reference: &Reference, descriptor: &Descriptor) -> Result<bool> {
        let _ = (reference, descriptor);
        todo!()
    }

    /// Makes the repository have the blob: it is there already, or mounted from the repository `mount_from` of the
    /// same registry, or uploaded.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        source: Arc<dyn BlobSource>,
        mount_from: Option<&str>,
    ) -> Result<Pushed> {
        let _ = (reference, descriptor, source, mount_from);
        todo!()
    }

    /// Puts a manifest or index under the reference's tag, or under its digest where there is no tag.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<Descriptor> {
        let _ = (reference, media_type, bytes);
        todo!()
    }

    /// The tags of a repository.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>> {
        let _ = reference;
        todo!()
    }

    /// Whether the registry `host` accepts `credential`.
    pub async fn login(&self, host: &str, credential: &Credential) -> Result<()> {
        let _ = (host, credential);
        todo!()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}
