//! Sessions: connections on which the client is the server, and the daemon asks for files, secrets and more.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::health::HealthCheckRequest;
use bollard_buildkit_proto::health::health_client::HealthClient;
use hyper::HeaderMap;
use hyper_util::rt::TokioIo;
use kiln_engine::{CancellationToken, Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{CONNECTION_WINDOW, STREAM_WINDOW};

/// How long a build waits for its session, whose request may come later than the build's.
const WAIT: Duration = Duration::from_secs(5);
/// The most sessions at once, and the longest of their words.
const MAX_SESSIONS: usize = 1024;
const MAX_WORD: usize = 1024;
const MAX_METHODS: usize = 256;
/// How often a client is asked whether it is well, how long it may take, and how often it may fail. As BuildKit's: a
/// client on a slow line that receives much answers late.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_PATIENCE: Duration = Duration::from_secs(15);
const HEALTH_FAILURES: usize = 2;

const ID: &str = "x-docker-expose-session-uuid";
const NAME: &str = "x-docker-expose-session-name";
const SHARED_KEY: &str = "x-docker-expose-session-sharedkey";
const METHODS: &str = "x-docker-expose-session-grpc-method";

/// What a client says of a session before it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// By which builds name it.
    pub(super) id: String,
    /// For people.
    pub(super) name: String,
    /// What is the same for the same folders of the same client; empty where it does not say.
    pub(super) shared_key: String,
    /// What it serves, `/package.Service/Method` in lower case.
    pub(super) methods: HashSet<String>,
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct Session {
    described: Described,
    channel: Channel,
    closed: CancellationToken,
}

/// The sessions that are open.
#[derive(Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    arrived: Notify,
}

impl Described {
    /// What is said in headers, of HTTP or of gRPC.
    pub(super) fn of(headers: &HeaderMap) -> Result<Described> {
        let word = |key: &str| {
            let value = headers.get(key).map(|value| value.to_str()).transpose();
            let value = value.map_err(|_| Error::invalid(format!("the session's `{key}` is not text")))?;
            match value.unwrap_or_default() {
                long if long.len() > MAX_WORD => {
                    Err(Error::invalid(format!("the session's `{key}` is too long")))
                }
                value => Ok(value.to_owned()),
            }
        };
        let id = word(ID)?;
        if id.is_empty() {
            return Err(Error::invalid(format!("a session needs `{ID}`")));
        }
        let methods = headers.get_all(METHODS).iter().take(MAX_METHODS);
        let methods = methods.filter_map(|method| method.to_str().ok()).map(str::to_ascii_lowercase);
        Ok(Described { id, name: word(NAME)?, shared_key: word(SHARED_KEY)?, methods: methods.collect() })
    }
}

impl Sessions {
    /// Begins a session on a connection.
    pub(super) async fn attach(
        self: &Arc<Self>,
        described: Described,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Arc<Session>> {
        let closed = CancellationToken::new();
        let channel = connect(io, closed.clone()).await?;
        let session = Arc::new(Session { described, channel, closed });
        let id = &session.described.id;
        {
            let mut open = self.open();
            if open.len() >= MAX_SESSIONS {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("{MAX_SESSIONS} sessions are open already"),
                ));
            }
            if open.contains_key(id) {
                return Err(Error::conflict(format!("the session `{id}` is open already")));
            }
            open.insert(id.clone(), session.clone());
        }
        self.arrived.notify_waiters();
        tracing::debug!(id, name = session.described.name, "a session began");
        tokio::spawn(watch(self.clone(), session.clone()));
        Ok(session)
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.open().len()
    }

    /// The session `id`, which may still be about to come.
    pub(super) async fn get(&self, id: &str) -> Result<Arc<Session>> {
        let deadline = Instant::now() + WAIT;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(session) = self.open().get(id).cloned() {
                return Ok(session);
            }
            if timeout_at(deadline, arrived).await.is_err() {
                let shown: String = id.escape_debug().take(MAX_WORD).collect();
                return Err(Error::not_found(format!("no active session for {shown}")));
            }
        }
    }

    /// Ends all.
    pub(super) fn close(&self) {
        self.open().values().for_each(|session| session.closed.cancel());
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// What the client said of it.
    pub(super) fn described(&self) -> &Described {
        &self.described
    }

    /// The way to what the client serves.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Whether the client serves `/package.Service/Method`.
    pub(super) fn supports(&self, method: &str) -> bool {
        self.described.methods.contains(&method.to_ascii_lowercase())
    }

    /// Waits until it is over.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Waits until nothing more comes of a build with it, because the client is gone or `cancel` gave the build up; why.
    pub(super) async fn gone(&self, cancel: &CancellationToken) -> &'static str {
        tokio::select! {
            () = self.closed() => "the client went away",
            () = cancel.cancelled() => "the build was cancelled",
        }
    }
}

/// Looks after a session until its connection or its client is gone.
async fn watch(sessions: Arc<Sessions>, session: Arc<Session>) {
    tokio::select! {
        () = session.closed() => {}
        () = unwell(session.channel()) => {}
    }
    session.closed.cancel();
    let mut open = sessions.open();
    let id = &session.described.id;
    if open.get(id).is_some_and(|there| Arc::ptr_eq(there, &session)) {
        open.remove(id);
    }
    tracing::debug!(id, "a session ended");
}

/// Returns when the client does not answer any more. One that cannot be asked counts as well.
async fn unwell(channel: Channel) {
    let mut client = HealthClient::new(channel);
    let mut failures = 0;
    while failures < HEALTH_FAILURES {
        tokio::time::sleep(HEALTH_INTERVAL).await;
        let answer = timeout(HEALTH_PATIENCE, client.check(HealthCheckRequest::default())).await;
        failures = match answer {
            Ok(Ok(_)) => 0,
            Ok(Err(status)) if status.code() == Code::Unimplemented => 0,
            Ok(Err(_)) | Err(_) => failures + 1,
        };
    }
}

/// A client on one connection; `closed` when that is gone.
async fn connect(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    closed: CancellationToken,
) -> Result<Channel> {
    let mut io = Some(Telling { io, _closed: closed.drop_guard() });
    let connector = service_fn(move |_| {
        let io = io.take().map(TokioIo::new);
        async move { io.ok_or_else(|| std::io::Error::other("the session has one connection")) }
    });
    let endpoint = Endpoint::from_static("http://session")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let connected = timeout(HEALTH_PATIENCE, endpoint.connect_with_connector(connector)).await;
    let failed = |why: String| Error::new(ErrorKind::Unavailable, format!("begin the session: {why}"));
    let connected = connected.map_err(|_| failed("the client does not speak HTTP/2".to_owned()))?;
    connected.map_err(|error| failed(error.to_string()))
}

/// A connection that tells when nobody has it any more.
struct Telling<T> {
    io: T,
    _closed: tokio_util::sync::DropGuard,
}

impl<T: AsyncRead + Unpin> AsyncRead for Telling<T> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Telling<T> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_describe_a_session() {
        let mut headers = HeaderMap::new();
        assert!(Described::of(&headers).unwrap_err().message.contains(ID));
        headers.insert(ID, "abc".parse().unwrap());
        headers.insert(SHARED_KEY, "key".parse().unwrap());
        headers.append(METHODS, "/a.B/C".parse().unwrap());
        headers.append(METHODS, "/a.B/D".parse().unwrap());
        let described = Described::of(&headers).unwrap();
        assert_eq!((described.id.as_str(), described.shared_key.as_str()), ("abc", "key"));
        assert!(described.methods.contains("/a.b/c") && described.methods.contains("/a.b/d"));
        headers.insert(ID, "x".repeat(MAX_WORD + 1).parse().unwrap());
        assert!(Described::of(&headers).is_err());
    }
}
