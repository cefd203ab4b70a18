//! What went wrong with which request, without a secret in it.

use std::fmt;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was, for callers that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The registry does not have it.
    NotFound,
    /// The registry wants (other) credentials.
    Unauthorized,
    /// The credentials do not allow it.
    Denied,
    /// The registry cannot be reached or does not answer, even after retries.
    Unavailable,
    /// The registry's answer breaks the protocol, a digest or a limit.
    Invalid,
    /// kiln refuses to do what the registry asks for.
    Refused,
    /// The request itself makes no sense.
    InvalidInput,
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

/// A failed request. URLs in it carry neither user info nor query values.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure it was.
    pub kind: ErrorKind,
    /// The HTTP method.
    pub method: &'static str,
    /// The URL, redacted.
    pub url: String,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// What the registry said.
    pub codes: Vec<ApiError>,
    /// What failed.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: {}", self.method, self.url, self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
