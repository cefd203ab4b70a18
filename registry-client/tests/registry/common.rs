//! What the tests of the client share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_registry_client::{Client, ClientOptions, Credential, Credentials, HostConfig, Limits, Result};
use kiln_test_support::registry::Registry;

/// The repository that the tests use.
pub(crate) const REPOSITORY: &str = "team/app";
/// A password that must never be seen.
pub(crate) const PASSWORD: &str = "hunter2";
/// `user:hunter2` in base64.
pub(crate) const LOGIN: &str = "dXNlcjpodW50ZXIy";

/// A reference to `REPOSITORY` in `registry`.
pub(crate) fn reference(registry: &Registry, rest: &str) -> Reference {
    format!("{}/{REPOSITORY}{rest}", registry.host()).parse().unwrap()
}

/// Limits that do not keep a test waiting.
pub(crate) fn limits() -> Limits {
    Limits {
        stall: Duration::from_millis(600),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(40),
        budget: Duration::from_secs(10),
        ..Limits::default()
    }
}

/// A client without credentials.
pub(crate) fn client() -> Client {
    Client::new(ClientOptions { limits: limits(), ..ClientOptions::default() })
}

/// A client that asks `mirrors` before `registry`.
pub(crate) fn mirrored(registry: &Registry, mirrors: &[&Registry]) -> Client {
    let mirrors = mirrors.iter().map(|mirror| mirror.host()).collect();
    let table = HostConfig { mirrors, ..HostConfig::default() };
    let config = [(registry.host(), table)].into();
    Client::new(ClientOptions { config, limits: limits(), ..ClientOptions::default() })
}

/// A credential for one registry only.
pub(crate) struct For(pub(crate) String, pub(crate) Credential);

impl Credentials for For {
    fn get(&self, host: &str) -> Option<Credential> {
        (host == self.0).then(|| self.1.clone())
    }
}

/// The user of `LOGIN`.
pub(crate) fn user() -> Credential {
    Credential::Basic { username: "user".to_owned(), password: PASSWORD.to_owned() }
}

/// A client that knows `credential` for `registry` and no other.
pub(crate) fn client_as(registry: &Registry, credential: Credential) -> Client {
    let credentials = Arc::new(For(registry.host(), credential));
    Client::new(ClientOptions { credentials, limits: limits(), ..ClientOptions::default() })
}

/// A blob of `len` bytes that do not repeat, with its descriptor.
pub(crate) fn blob(len: usize) -> (Vec<u8>, Descriptor) {
    let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let descriptor = Descriptor::of(MediaType::OCI_LAYER, &bytes);
    (bytes, descriptor)
}

/// An empty OCI manifest that differs by `name`.
pub(crate) fn manifest(name: &str) -> Vec<u8> {
    let config = Descriptor::of(MediaType::OCI_CONFIG, name.as_bytes());
    kiln_oci::Manifest::new(config, Vec::new()).to_bytes()
}

/// Fetches a whole blob.
pub(crate) async fn fetch(
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>> {
    let mut stream = client.blob(reference, descriptor).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    assert_eq!(Digest::of(&bytes), descriptor.digest, "wrong bytes passed for right ones");
    Ok(bytes)
}
