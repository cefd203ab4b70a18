//! One file by HTTP from a server that is no registry: `ADD https://…` and remote contexts.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, Response, Url};

use crate::error::{Error, ErrorKind, Result};
use crate::origin::Origin;
use crate::retry::http_date;
use crate::transport::{Request, Transport, stalled};

/// A validator longer than this is not kept.
const MAX_VALIDATOR: usize = 1024;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// `http://…` or `https://…`; a user name and password in it are sent as basic authorization.
    pub url: &'a str,
    /// The value of `Authorization`; it goes to the URL's own origin only, wherever redirects lead.
    pub authorization: Option<&'a str>,
    /// What is known of an earlier answer: the same content is then not sent again.
    pub known: &'a Validators,
}

/// How a server recognises a version of a file (RFC 9110, 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, as it was sent.
    pub etag: Option<String>,
    /// `Last-Modified`, as it was sent.
    pub last_modified: Option<String>,
}

/// The answer.
#[derive(Debug)]
pub enum Downloaded {
    /// The content is what [`Download::known`] says.
    Unchanged,
    /// The content follows.
    Content(Box<Content>),
}

/// A file's bytes as they arrive. They are complete when [`Content::chunk`] has said `None`: a body that ends before
/// its announced length is an error. Nothing says that they are right; whoever knows a digest checks it.
#[derive(Debug)]
pub struct Content {
    /// How the server will recognise them.
    pub validators: Validators,
    /// How many there are, where the server says so.
    pub length: Option<u64>,
    request: Request,
    answer: Response,
    stall: Duration,
}

impl Validators {
    /// `Last-Modified` in seconds since 1970, where it is a date.
    pub fn modified(&self) -> Option<i64> {
        self.last_modified.as_deref().and_then(http_date).and_then(|seconds| i64::try_from(seconds).ok())
    }

    /// Whether there is nothing to recognise a version by.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    fn of(headers: &HeaderMap) -> Validators {
        let text = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= MAX_VALIDATOR).then(|| value.to_owned())
        };
        Validators { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }
}

/// Asks for a file.
pub(crate) async fn download(transport: &Transport, wanted: Download<'_>) -> Result<Downloaded> {
    let (url, own) = parse(wanted.url)?;
    let origin = Origin::of(&url);
    let authorization = match wanted.authorization {
        Some(value) => Some(header_value(value)?),
        None => own,
    };
    // No other coding: what is hashed and written is what the server has.
    let mut request = Request::new(Method::GET, url).header(ACCEPT_ENCODING, "identity").of_server();
    // RFC 9110, 13.1.3: a date is not looked at where a tag is given.
    match wanted.known {
        Validators { etag: Some(etag), .. } => request = request.header(IF_NONE_MATCH, etag),
        Validators { last_modified: Some(date), .. } => request = request.header(IF_MODIFIED_SINCE, date),
        _ => {}
    }
    let authorization = authorization.map(|value| (origin, value));
    let answer = transport.send(&request, authorization.as_ref(), true).await.map_err(unreachable)?;
    match answer.status().as_u16() {
        304 if !wanted.known.is_empty() => Ok(Downloaded::Unchanged),
        200 => content(request, answer, transport.limits.stall)
            .map(|content| Downloaded::Content(Box::new(content))),
        _ => {
            let error = request.rejected(answer).await;
            let hint = hint(&error, &request.url).map(Into::into);
            Err(Error { hint, ..error })
        }
    }
}

/// The same error with a hint that speaks of no registry.
fn unreachable(error: Error) -> Error {
    match error.is_connect() {
        true => error.with_hint("is the network up, and the server's address right?"),
        false => error,
    }
}

/// How to be somebody to a server that wants that.
fn hint(error: &Error, url: &Url) -> Option<String> {
    let host = url.host_str()?;
    matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::Denied)
        .then(|| format!("the secret `HTTP_AUTH_TOKEN_{host}` or `HTTP_AUTH_HEADER_{host}` is sent to it"))
}

fn content(request: Request, answer: Response, stall: Duration) -> Result<Content> {
    let coding = answer.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    if let Some(coding) = coding.filter(|coding| !coding.eq_ignore_ascii_case("identity")) {
        let message =
            format!("the server sends the file with the coding `{coding}`, which was not asked for");
        return Err(request.error(ErrorKind::Refused, message));
    }
    let validators = Validators::of(answer.headers());
    Ok(Content { validators, length: answer.content_length(), request, answer, stall })
}

impl Content {
    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match tokio::time::timeout(self.stall, self.answer.chunk()).await {
            Err(_) => Err(stalled(&self.request, self.stall).error),
            Ok(Err(error)) => Err(Error::transport(&self.request.method, &self.request.url, error)),
            Ok(Ok(chunk)) => Ok(chunk),
        }
    }

    /// An error about the content.
    pub fn error(&self, message: impl Into<String>) -> Error {
        self.request.error(ErrorKind::Corrupt, message)
    }
}

/// The URL without its user info, and what that is as `Authorization`.
fn parse(text: &str) -> Result<(Url, Option<HeaderValue>)> {
    let refuse = |reason: &str| Error::without_request(ErrorKind::Refused, format!("the URL {reason}"));
    let mut url = Url::parse(text).map_err(|error| refuse(&format!("is malformed: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("is neither http nor https"));
    }
    if url.username().is_empty() && url.password().is_none() {
        return Ok((url, None));
    }
    let (user, password) =
        (percent_decode(url.username()), percent_decode(url.password().unwrap_or_default()));
    let pair = [user, password].join(&b':');
    // Cannot fail: http and https URLs have a host.
    let _ = (url.set_username(""), url.set_password(None));
    let value = header_value(&format!("Basic {}", STANDARD.encode(pair)))?;
    Ok((url, Some(value)))
}

/// A header's value that is never shown.
fn header_value(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text.trim_end_matches(['\r', '\n'])).map_err(|_| {
        Error::without_request(ErrorKind::Local, "the authorization holds characters that no header may hold")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_becomes_authorization() {
        let (url, value) = parse("https://me:p%40ss@h.example/x?y").unwrap();
        assert_eq!(url.as_str(), "https://h.example/x?y");
        let value = value.unwrap();
        assert_eq!(value, "Basic bWU6cEBzcw==");
        assert!(value.is_sensitive());
        assert!(parse("https://h/x").unwrap().1.is_none());
    }

    #[test]
    fn only_http_is_spoken_and_errors_hold_no_secret() {
        for url in ["file:///etc/passwd", "gopher://h/", "ftp://u:hunter2@h/", "hunter2"] {
            let error = parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(header_value("a\nb: c").is_err());
        assert!(header_value("token\n").is_ok());
    }
}
