//! Image references: registry, repository, tag and digest, with Docker Hub's short forms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The registry that a name without one means.
pub const DOCKER_HUB: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// How much of a digest's digits is in the tag of its referrers.
const MAX_DIGITS: usize = 64;

/// Where an image is: `registry/repository[:tag][@digest]`, always in full form.
///
/// Grammar: distribution's `reference` package; `nginx` means `docker.io/library/nginx`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a string is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// Host and optional port, for example `docker.io` or `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path inside the registry, for example `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same with the tag `latest` where there is neither tag nor digest.
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository at `digest`, the tag kept for people to read.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Reference { digest: Some(digest), ..self.clone() }
    }

    /// The same without its digest.
    pub fn without_digest(&self) -> Self {
        Reference { digest: None, ..self.clone() }
    }

    /// The repository alone, without tag and digest.
    pub fn without_tag(&self) -> Self {
        Reference { tag: None, digest: None, ..self.clone() }
    }

    /// Where what refers to `subject` is listed by registries that do not list it themselves: `sha256-<digits>` of the
    /// same repository (distribution-spec, referrers tag schema).
    pub fn of_referrers(&self, subject: &Digest) -> Self {
        let digits = subject.hex().get(..MAX_DIGITS).unwrap_or(subject.hex());
        let tag = format!("{}-{digits}", subject.algorithm().name());
        Reference { tag: Some(tag), digest: None, ..self.clone() }
    }

    /// Registry and repository without tag and digest, in full form.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What people type: Docker Hub's registry and `library/` left out, the tag kept.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }

    /// `familiar` without tag and digest.
    pub fn familiar_name(&self) -> String {
        if self.registry != DOCKER_HUB {
            return self.name();
        }
        self.repository.strip_prefix("library/").unwrap_or(&self.repository).to_owned()
    }

    /// What to ask the registry for: the digest where there is one, else the tag, else `latest`.
    pub fn target(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fail = |reason| ReferenceError { text: text.chars().take(300).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| fail("its digest is malformed"))?))
            }
        };
        let (name, tag) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => (&rest[..colon], Some(&rest[colon + 1..])),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail("its tag is malformed"));
        }
        let (registry, path) = split_registry(name);
        if !is_host(registry) {
            return Err(fail("its registry is not a host"));
        }
        if path.is_empty() {
            return Err(fail("it has no repository name"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(fail("a repository name must be lower case"));
        }
        if !path.split('/').all(is_component) {
            return Err(fail("its repository name is malformed"));
        }
        if name.len() > MAX_NAME {
            return Err(fail("its name is longer than 255 characters"));
        }
        let hub = matches!(registry, DOCKER_HUB | "index.docker.io" | "registry-1.docker.io");
        let repository = if hub && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        let registry = if hub { DOCKER_HUB } else { registry }.to_owned();
        Ok(Reference { registry, repository, tag: tag.map(str::to_owned), digest })
    }
}

/// The first part is a registry if it looks like a host: a dot, a port, or `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DOCKER_HUB, name),
    }
}

fn is_host(text: &str) -> bool {
    if let Some(v6) = text.strip_prefix('[') {
        let Some((address, port)) = v6.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    port.is_none_or(is_port) && host.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !tag.is_empty()
        && tag.len() <= MAX_TAG
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// Lower-case words joined by `.`, `_`, `__` or any number of `-`.
fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if bytes.is_empty() || !word(bytes[0]) || !word(bytes[bytes.len() - 1]) {
        return false;
    }
    bytes.split(|b| word(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_docker_hub() {
        let full = |s: &str| s.parse::<Reference>().unwrap().with_default_tag().to_string();
        assert_eq!(full("nginx"), "docker.io/library/nginx:latest");
        assert_eq!(full("team/app:1"), "docker.io/team/app:1");
        assert_eq!(full("localhost/app"), "localhost/app:latest");
        assert_eq!(full("127.0.0.1:5000/a/b:x"), "127.0.0.1:5000/a/b:x");
        assert_eq!(full("[::1]:5000/a"), "[::1]:5000/a:latest");
        assert_eq!(full("index.docker.io/nginx"), "docker.io/library/nginx:latest");
    }

    #[test]
    fn familiar_form_is_what_was_typed() {
        for text in ["nginx:1", "team/app:1", "localhost:5000/app:1"] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), text);
        }
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "",
            ":",
            "Nginx",
            "a//b",
            "../x",
            "a/../b",
            "nginx:",
            "nginx:-x",
            "nginx@sha256:12",
            "a b",
            "a\r\nb",
            "host:99999/a",
            "-a",
            "a_-b",
            "a/%2f",
            "nginx:a:b",
            "[::1/x",
            "a...b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
    }
}
