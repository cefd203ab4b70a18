//! Requests on the wire: one connection pool a kind of host, redirects without credentials, retries.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use crate::body::SourceBody;
use crate::config::{HostConfig, RegistryConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::origin::{Origin, authority, is_loopback, locate};
use crate::retry::{Attempts, Cause, Limits, busy};
use crate::tls;

/// The most redirects followed from one request.
const MAX_REDIRECTS: usize = 10;
/// The most of an error answer's body that is read.
const MAX_ERROR_BODY: usize = 64 << 10;
/// How often the progress of a body on its way out is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Idle connections kept to one host.
const MAX_IDLE: usize = 8;

/// One request, which can be sent several times.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// Who is asked, as people call it.
    pub(crate) peer: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Empty,
    Bytes(Bytes),
    Source(SourceBody),
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Request { method, url, headers: HeaderMap::new(), body: Body::Empty, peer: "the registry" }
    }

    /// The same, asked of a server that is no registry.
    pub(crate) fn of_server(self) -> Self {
        Request { peer: "the server", ..self }
    }

    pub(crate) fn header(mut self, name: reqwest::header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn body(self, body: Body) -> Self {
        Request { body, ..self }
    }

    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, &self.method, &self.url, message)
    }

    /// The error that an answer with an unexpected status is.
    pub(crate) async fn rejected(&self, answer: Response) -> Error {
        let status = answer.status();
        let body = read_limited(answer, MAX_ERROR_BODY).await.unwrap_or_default();
        Error::status(self.peer, &self.method, &self.url, status, &body)
    }
}

/// An attempt that failed, and whether another one may help.
pub(crate) struct Failure {
    pub(crate) cause: Option<Cause>,
    pub(crate) error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { cause: None, error }
    }
}

pub(crate) struct Transport {
    pub(crate) config: RegistryConfig,
    pub(crate) limits: Limits,
    pub(crate) user_agent: String,
    clients: Mutex<HashMap<Kind, reqwest::Client>>,
}

/// Hosts that can share a connection pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Loopback,
    Plain,
    Tls,
    Configured(String),
}

impl Transport {
    pub(crate) fn new(config: RegistryConfig, limits: Limits, user_agent: String) -> Self {
        Transport { config, limits, user_agent, clients: Mutex::default() }
    }

    /// Sends until there is an answer that another attempt would not change.
    ///
    /// `authorization` goes to its own origin only, wherever redirects lead.
    pub(crate) async fn send(
        &self,
        request: &Request,
        authorization: Option<&(Origin, HeaderValue)>,
        patient: bool,
    ) -> Result<Response> {
        let mut attempts = Attempts::new(patient);
        loop {
            let (cause, error) = match self.attempt(request, authorization).await {
                Ok(answer) => match busy(answer.status(), answer.headers()) {
                    None => return Ok(answer),
                    Some(cause) => (cause, request.rejected(answer).await),
                },
                Err(Failure { cause: Some(cause), error }) => (cause, error),
                Err(Failure { cause: None, error }) => return Err(error),
            };
            let Some(pause) = attempts.next(cause, &self.limits) else { return Err(error) };
            tracing::info!(%error, ?pause, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends once and follows redirects.
    async fn attempt(
        &self,
        request: &Request,
        authorization: Option<&(Origin, HeaderValue)>,
    ) -> Result<Response, Failure> {
        let mut hop = request.clone();
        for _ in 0..=MAX_REDIRECTS {
            let own = authorization.filter(|(origin, _)| *origin == Origin::of(&hop.url));
            let answer = self.send_once(&hop, own.map(|(_, value)| value)).await?;
            if !is_redirect(&hop.method, answer.status()) {
                return Ok(answer);
            }
            hop.url = locate(&hop.url, answer.headers().get(LOCATION)).map_err(|reason| {
                request.error(ErrorKind::Refused, format!("{} redirects {reason}", request.peer))
            })?;
        }
        Err(request.error(ErrorKind::Refused, format!("more than {MAX_REDIRECTS} redirects")).into())
    }

    async fn send_once(
        &self,
        hop: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let progress = Progress::default();
        let mut builder =
            self.client(&hop.url)?.request(hop.method.clone(), hop.url.clone()).headers(hop.headers.clone());
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        builder = match &hop.body {
            Body::Empty if hop.method == Method::GET || hop.method == Method::HEAD => builder,
            Body::Empty => builder.header(CONTENT_LENGTH, 0),
            Body::Bytes(bytes) => builder.body(bytes.clone()),
            Body::Source(source) => {
                let builder = builder.body(source.open(progress.clone()));
                source.len.into_iter().fold(builder, |builder, len| builder.header(CONTENT_LENGTH, len))
            }
        };
        match until_stalled(builder.send(), &progress, |sent| self.patience(hop, sent)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(connection_failed(hop, error)),
            None => Err(stalled(hop, self.limits.stall)),
        }
    }

    /// How long to wait after `sent` bytes of the body: a registry that has all of a blob may need long to store it, and what
    /// is being made may need long to go on.
    fn patience(&self, hop: &Request, sent: u64) -> Duration {
        let all_sent = match &hop.body {
            Body::Empty | Body::Bytes(_) => hop.method == Method::PUT,
            Body::Source(source) => source.len.is_none_or(|len| sent >= len),
        };
        if all_sent { self.limits.commit } else { self.limits.stall_of_attempt() }
    }

    fn client(&self, url: &Url) -> Result<reqwest::Client> {
        let name = authority(url);
        let host = self.config.get(&name).filter(|host| is_special(host));
        let kind = match (url.scheme(), host) {
            ("http", _) if is_loopback(url) => Kind::Loopback,
            ("http", _) => Kind::Plain,
            (_, None) => Kind::Tls,
            (_, Some(_)) => Kind::Configured(name),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = self.make_client(&kind, host)?;
        clients.insert(kind, client.clone());
        Ok(client)
    }

    fn make_client(&self, kind: &Kind, host: Option<&HostConfig>) -> Result<reqwest::Client> {
        let tls = match kind {
            Kind::Loopback | Kind::Plain => tls::none()?,
            Kind::Tls => tls::of(&HostConfig::default())?,
            Kind::Configured(_) => tls::of(host.unwrap_or(&HostConfig::default()))?,
        };
        // HTTP/1.1: a connection a blob is faster than streams that share one connection's window.
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .user_agent(&self.user_agent)
            .connect_timeout(self.limits.connect)
            .pool_max_idle_per_host(MAX_IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false);
        let builder = if *kind == Kind::Loopback { builder.no_proxy() } else { builder };
        let failed =
            |error| Error::without_request(ErrorKind::Local, "cannot set up HTTP").with_source(error);
        builder.build().map_err(failed)
    }
}

fn is_special(host: &HostConfig) -> bool {
    host.insecure == Some(true) || !host.ca.is_empty() || !host.keypair.is_empty()
}

/// A method other than GET and HEAD is sent again only where the server says so (RFC 9110, 15.4).
fn is_redirect(method: &Method, status: StatusCode) -> bool {
    let safe = matches!(*method, Method::GET | Method::HEAD);
    matches!(status.as_u16(), 307 | 308) || safe && matches!(status.as_u16(), 301..=303)
}

fn connection_failed(hop: &Request, error: reqwest::Error) -> Failure {
    // A certificate that is wrong stays wrong, and falling back to plain HTTP is nobody's choice but the user's.
    let tls = find_source::<rustls::Error>(&error).is_some();
    let cause = if error.is_connect() { Cause::Connect } else { Cause::Broken };
    let cause = Some(cause).filter(|_| !tls && !error.is_builder());
    let local = match &hop.body {
        Body::Source(source) => source.take_error(),
        _ => None,
    };
    if let Some(local) = local {
        let error = hop.error(ErrorKind::Local, "cannot read what is to be sent").with_source(local);
        return Failure { cause: None, error };
    }
    let mut error = Error::transport(&hop.method, &hop.url, error);
    if tls {
        error =
            error.with_hint("the configuration of this registry may name its certificate authority (`ca`)");
    }
    Failure { cause, error }
}

fn find_source<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    if let Some(found) = error.downcast_ref::<E>() {
        return Some(found);
    }
    // `io::Error` passes over the error it carries in `source`.
    match error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
        Some(carried) => find_source(carried),
        None => find_source(error.source()?),
    }
}

pub(crate) fn stalled(request: &Request, stall: Duration) -> Failure {
    let message = format!("{} sent nothing for {} s", request.peer, stall.as_secs_f32());
    Failure { cause: Some(Cause::Stall), error: request.error(ErrorKind::Unavailable, message) }
}

/// Counts what has been sent of a request's body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Waits for `future` as long as `progress` goes on; `None` where it stood still for longer than `patience` allows.
async fn until_stalled<F: Future>(
    future: F,
    progress: &Progress,
    patience: impl Fn(u64) -> Duration,
) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut seen = progress.get();
    let mut still = Instant::now();
    loop {
        let left = patience(seen).saturating_sub(still.elapsed());
        if let Ok(output) = tokio::time::timeout(left.min(TICK), &mut future).await {
            return Some(output);
        }
        let now = progress.get();
        if now != seen {
            (seen, still) = (now, Instant::now());
        } else if still.elapsed() >= patience(now) {
            return None;
        }
    }
}

/// Reads a body of at most `limit` bytes; `None` where it is longer or breaks off.
pub(crate) async fn read_limited(mut answer: Response, limit: usize) -> Option<Bytes> {
    if answer.content_length().is_some_and(|length| length > limit as u64) {
        return None;
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = tokio::time::timeout(crate::retry::STALL, answer.chunk()).await.ok()?.ok()? {
        if bytes.len() + chunk.len() > limit {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some(bytes.into())
}
