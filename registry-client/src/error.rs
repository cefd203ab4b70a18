//! What went wrong with which request, without a secret in it.

use std::fmt;

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::origin::redact;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The most of a registry's own message that is shown.
const MAX_MESSAGE: usize = 300;
/// The most entries of an error document that are kept.
const MAX_CODES: usize = 8;

/// What kind of failure it was, for callers that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The registry does not have it.
    NotFound,
    /// The registry wants credentials, or others.
    Unauthorized,
    /// The credentials do not allow it.
    Denied,
    /// The registry cannot be reached or does not answer, even after retries.
    Unavailable,
    /// What came is not what its digest and size promise. Worth one more try from the start: the client does not
    /// ask a mirror again that sent it.
    Corrupt,
    /// The registry's answer breaks the protocol or a limit.
    Invalid,
    /// kiln does not do what the registry asks for.
    Refused,
    /// Something on this side failed, for example reading the blob to push.
    Local,
}

/// One entry of a registry's error document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Its code, for example `MANIFEST_UNKNOWN`.
    pub code: String,
    /// Its message.
    pub message: String,
}

/// A failed request. Its URL carries neither user info nor query; it is empty where nothing was sent.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure it was.
    pub kind: ErrorKind,
    /// The HTTP method.
    pub method: Method,
    /// The URL, redacted.
    pub url: Box<str>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// What the registry said.
    pub codes: Vec<ApiError>,
    /// What failed.
    pub message: Box<str>,
    /// What to do next.
    pub hint: Option<Box<str>>,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, method: &Method, url: &Url, message: impl Into<String>) -> Self {
        Error { method: method.clone(), url: redact(url).into(), ..Error::without_request(kind, message) }
    }

    /// A failure before there was a request.
    pub(crate) fn without_request(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            kind,
            method: Method::GET,
            url: Box::default(),
            status: None,
            codes: Vec::new(),
            message: message.into().into(),
            hint: None,
            source: None,
        }
    }

    pub(crate) fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error { source: Some(source.into()), ..self }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Error { hint: Some(hint.into().into()), ..self }
    }

    /// A request that found no answer.
    pub(crate) fn transport(method: &Method, url: &Url, error: reqwest::Error) -> Self {
        let message = if error.is_connect() { "cannot connect" } else { "the connection failed" };
        // The error's own text would show the URL with its query.
        let hint = error.is_connect().then_some("is the network up, and the registry's address right?");
        let new = Error::new(ErrorKind::Unavailable, method, url, message);
        Error { hint: hint.map(Into::into), ..new.with_source(error.without_url()) }
    }

    /// Whether no connection could be made.
    pub(crate) fn is_connect(&self) -> bool {
        let source = self.source.as_ref().and_then(|source| source.downcast_ref::<reqwest::Error>());
        source.is_some_and(reqwest::Error::is_connect)
    }

    /// An answer that says no.
    pub(crate) fn status(peer: &str, method: &Method, url: &Url, status: StatusCode, body: &[u8]) -> Self {
        let kind = match status.as_u16() {
            404 => ErrorKind::NotFound,
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Denied,
            408 | 429 | 500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        };
        let codes = parse_codes(body);
        let mut message = format!("{peer} answered `{status}`");
        if let Some(first) = codes.first() {
            message = format!("{message}: {first}");
        }
        let hint = (kind == ErrorKind::Unauthorized).then(|| {
            let host = url.authority().rsplit('@').next().unwrap_or_default();
            format!("`kiln login {host}` stores credentials; a private or missing repository answers so too")
                .into()
        });
        Error { status: Some(status.as_u16()), codes, hint, ..Error::new(kind, method, url, message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.url.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{} `{}`: {}", self.method, self.url, self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn parse_codes(body: &[u8]) -> Vec<ApiError> {
    let Ok(document) = serde_json::from_slice::<Document>(body) else { return Vec::new() };
    let entries = document.errors.into_iter().take(MAX_CODES);
    entries.map(|e| ApiError { code: printable(&e.code), message: printable(&e.message) }).collect()
}

/// What a stranger says, cut and without characters that would act on a terminal.
fn printable(text: &str) -> String {
    let acts = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().take(MAX_MESSAGE).map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_the_registry_said_and_no_secret() {
        let url = Url::parse("https://user:hunter2@r.example/v2/x?token=hunter2").unwrap();
        let body = br#"{"errors":[{"code":"DENIED","message":"no \u001b[2J"}]}"#;
        let error = Error::status("the registry", &Method::GET, &url, StatusCode::FORBIDDEN, body);
        assert_eq!(error.kind, ErrorKind::Denied);
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("GET `https://r.example/v2/x`: the registry answered `403 Forbidden`: DENIED: no")
        );
        assert!(!text.contains("hunter2") && !text.contains('\u{1b}'), "{text}");
    }
}
