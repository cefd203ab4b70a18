//! Credentials that come with a request: `X-Registry-Auth` for one registry, `X-Registry-Config` for several.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use kiln_engine::{Credential, Credentials, Engine};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Failure;

/// The name under which the registry of Docker Hub is known to references.
const DOCKER_HUB: &str = "docker.io";

/// What a client knows a registry by (the API's `AuthConfig`). Never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct AuthConfig {
    username: String,
    password: String,
    auth: String,
    #[serde(alias = "serverAddress")]
    pub(crate) serveraddress: String,
    identitytoken: String,
    registrytoken: String,
}

impl AuthConfig {
    /// The credential, where there is one.
    pub(crate) fn credential(&self) -> Option<Credential> {
        if !self.registrytoken.is_empty() {
            return Some(Credential::RegistryToken(self.registrytoken.clone()));
        }
        if !self.identitytoken.is_empty() {
            return Some(Credential::IdentityToken(self.identitytoken.clone()));
        }
        if !self.username.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Some(Credential::Basic { username, password });
        }
        let text = STANDARD.decode(&self.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
        let (username, password) = text.split_once(':')?;
        Some(Credential::Basic { username: username.to_owned(), password: password.to_owned() })
    }
}

/// Credentials by host, for one request.
struct OfRequest(BTreeMap<String, Credential>);

impl Credentials for OfRequest {
    fn get(&self, host: &str) -> Option<Credential> {
        self.0.get(host).cloned()
    }
}

/// The engine for a request about an image at `registry`: with the credential of `X-Registry-Auth`, where there is one.
pub(crate) fn for_registry(engine: &Engine, headers: &HeaderMap, registry: &str) -> Result<Engine, Failure> {
    let given = header::<AuthConfig>(headers, "x-registry-auth")?;
    let credential = given.and_then(|auth| auth.credential());
    let credentials = credential.map(|credential| (registry.to_owned(), credential));
    Ok(with(engine, credentials.into_iter().collect()))
}

/// The engine for a build: with the credentials of `X-Registry-Config`.
pub(crate) fn for_build(engine: &Engine, headers: &HeaderMap) -> Result<Engine, Failure> {
    let given = header::<BTreeMap<String, AuthConfig>>(headers, "x-registry-config")?.unwrap_or_default();
    let credentials = given.iter().filter_map(|(key, auth)| Some((host_of(key), auth.credential()?)));
    Ok(with(engine, credentials.collect()))
}

/// Without credentials the engine that all share is as good.
fn with(engine: &Engine, credentials: BTreeMap<String, Credential>) -> Engine {
    match credentials.is_empty() {
        true => engine.clone(),
        false => engine.with_credentials(Arc::new(OfRequest(credentials))),
    }
}

/// The host that a client means: Docker calls its own registry by a URL of old.
pub(crate) fn host_of(address: &str) -> String {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// A header that is JSON in base64, with padding or without. What was wrong with it is not repeated: it is a secret.
fn header<T: DeserializeOwned>(headers: &HeaderMap, name: &str) -> Result<Option<T>, Failure> {
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let padded = format!("{text}{}", &"==="[..(4 - text.len() % 4) % 4]);
    let bytes = URL_SAFE.decode(padded).ok();
    // Clients of old write `null` where they have nothing to say.
    let parsed = bytes.and_then(|bytes| serde_json::from_slice::<Option<T>>(&bytes).ok());
    parsed.ok_or_else(|| Failure::bad_request(format!("invalid {name} header")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, json: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, URL_SAFE.encode(json).parse().unwrap());
        headers
    }

    #[test]
    fn every_form_of_a_credential_is_read() {
        let read = |json: &str| {
            header::<AuthConfig>(&headers("x-registry-auth", json), "x-registry-auth")
                .unwrap()
                .unwrap()
                .credential()
        };
        let basic = Some(Credential::Basic { username: "u".into(), password: "p?>".into() });
        assert_eq!(read(r#"{"username":"u","password":"p?>","serveraddress":"r"}"#), basic);
        assert_eq!(read(r#"{"auth":"dTpwPz4="}"#), basic);
        assert_eq!(read(r#"{"identitytoken":"t"}"#), Some(Credential::IdentityToken("t".into())));
        assert_eq!(read(r#"{"registrytoken":"t"}"#), Some(Credential::RegistryToken("t".into())));
        assert_eq!(read("{}"), None);
        let of = |json: &str| header::<AuthConfig>(&headers("x-registry-auth", json), "x-registry-auth");
        assert!(of("[1").is_err());
        assert!(of("null").unwrap().is_none());
    }

    #[test]
    fn padding_and_alphabet_do_not_matter() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-registry-auth", text.parse().unwrap());
            header::<AuthConfig>(&headers, "x-registry-auth")
        };
        for text in ["e30=", "e30", "eyJhdXRoIjoiPz4-In0=", "eyJhdXRoIjoiPz4+In0"] {
            assert!(read(text).unwrap().is_some(), "{text}");
        }
        assert_eq!(read("%%%").err().unwrap().message, "invalid x-registry-auth header");
    }

    #[test]
    fn addresses_name_hosts() {
        for (address, host) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://ghcr.io/v2/", "ghcr.io"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
