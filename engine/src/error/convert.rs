//! Errors of the crates below as errors of the engine.

use super::{Error, ErrorKind};

impl From<kiln_cache::Error> for Error {
    fn from(error: kiln_cache::Error) -> Self {
        use kiln_cache::Error as Cache;
        let kind = match &error {
            Cache::NotFound { .. } => ErrorKind::NotFound,
            Cache::InUse { .. } => ErrorKind::Conflict,
            Cache::Ambiguous { .. } => ErrorKind::InvalidInput,
            Cache::Cancelled { .. } => ErrorKind::Cancelled,
            _ => ErrorKind::Internal,
        };
        let hint = error.hint().map(str::to_owned);
        rewrap(kind, &error, hint)
    }
}

impl From<kiln_registry_client::Error> for Error {
    fn from(error: kiln_registry_client::Error) -> Self {
        let kind = registry_kind(&error);
        let hint = error.hint.as_deref().map(str::to_owned);
        rewrap(kind, &error, hint)
    }
}

impl From<kiln_oci::reference::ReferenceError> for Error {
    fn from(error: kiln_oci::reference::ReferenceError) -> Self {
        Error::invalid(error.to_string())
    }
}

impl From<kiln_oci::platform::PlatformError> for Error {
    fn from(error: kiln_oci::platform::PlatformError) -> Self {
        Error::invalid(error.to_string())
    }
}

/// The text of `error` with its causes; the value itself is not kept, as nobody above can use its type.
fn rewrap(kind: ErrorKind, error: &(dyn std::error::Error + 'static), hint: Option<String>) -> Error {
    let mut new = Error::new(kind, chain(error));
    new.hint = hint;
    new
}

/// An error and its causes on one line; a cause that is already in the text is not repeated.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = plain(&error.to_string());
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = plain(&cause.to_string());
        if !cause_text.is_empty() && !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// A text without what only the author of a library can use: the number of a system's error, the layers of an HTTP
/// client.
fn plain(text: &str) -> String {
    const LAYERS: [&str; 5] = [
        "error sending request",
        "client error (Connect)",
        "dns error",
        "error resolving DNS",
        "tcp connect error",
    ];
    let parts = text.split(": ").filter(|part| !LAYERS.contains(part)).map(|part| {
        match part.split_once(" (os error ") {
            Some((what, number)) if number.trim_end_matches(')').parse::<i32>().is_ok() => what,
            _ => part,
        }
    });
    parts.collect::<Vec<_>>().join(": ")
}

/// The kind of a registry's error.
pub(crate) fn registry_kind(error: &kiln_registry_client::Error) -> ErrorKind {
    use kiln_registry_client::ErrorKind as Registry;
    match error.kind {
        Registry::NotFound => ErrorKind::NotFound,
        Registry::Unauthorized => ErrorKind::Unauthorized,
        Registry::Denied | Registry::Refused => ErrorKind::Forbidden,
        Registry::Unavailable | Registry::Invalid | Registry::Corrupt => ErrorKind::Unavailable,
        Registry::Local => ErrorKind::Internal,
    }
}
