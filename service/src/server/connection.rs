//! One connection: accepted, limited, and its requests handed to the routes.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use kiln_engine::CancellationToken;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::limits::{
    ACCEPT_PAUSE, HANDSHAKE_TIMEOUT, HEAD_TIMEOUT, MAX_CONNECTIONS, MAX_CONNECTIONS_OF_PEER,
    MAX_ERROR_RESETS, MAX_HANDSHAKES_OF_ADDRESS, MAX_HEADER_BYTES, MAX_HEADERS, MAX_PENDING_RESETS,
    MAX_STREAMS, PING,
};
use super::patient::Patient;
use super::peer::{Peer, Who};
use super::shares::Shares;
use super::tenants::{Tenant, Tenants};
use super::tls::{Offered, Tls, holder};
use super::{guard, monitor};
use crate::buildkit::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::docker::version;
use crate::observe::Observer;

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) tenants: Tenants,
    /// What monitoring asks, whoever asks it.
    pub(super) monitored: Router,
    /// Free places for connections.
    pub(super) slots: Arc<Semaphore>,
    /// Connections that each peer has.
    pub(super) shares: Shares<Tenant>,
    /// Handshakes that go on with each address.
    pub(super) handshakes: Shares<IpAddr>,
    /// Cancelled when nobody new gets in.
    pub(super) closed: CancellationToken,
    /// Cancelled when those who are in are to go.
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// Counts requests.
    pub(super) observer: Arc<Observer>,
}

impl Door {
    /// Serves whoever comes to a unix socket.
    pub(super) async fn unix(self, listener: UnixListener) {
        while let Some((slot, (stream, _))) = self.next(|| listener.accept()).await {
            let Ok(credentials) = stream.peer_cred() else { continue };
            let (uid, gid, pid) = (credentials.uid(), credentials.gid(), credentials.pid());
            let Some(peer) = self.admit(Who::Process { uid, gid, pid }, slot) else { continue };
            let door = self.clone();
            self.tasks.spawn(door.serve(stream, peer, None));
        }
    }

    /// Serves whoever comes over TCP and has a certificate.
    pub(super) async fn tcp(self, listener: TcpListener, offered: Offered) {
        while let Some((slot, (stream, address))) = self.next(|| listener.accept()).await {
            let Some(share) = self.handshakes.take(address.ip(), MAX_HANDSHAKES_OF_ADDRESS) else {
                tracing::info!(%address, "refused: its other handshakes come first");
                continue;
            };
            let (door, tls) = (self.clone(), offered.get());
            self.tasks.spawn(async move {
                let socket = stream.as_fd().try_clone_to_owned().ok();
                let handshake = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                    Ok(Ok(stream)) => {
                        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                        // Nobody gets here without one.
                        let Some(holder) = shown.map(holder) else { return };
                        drop(share);
                        let Some(peer) = door.admit(Who::Certificate { address, holder }, slot) else {
                            return;
                        };
                        let peer = peer.on(socket);
                        door.serve(stream, peer, Some(tls)).await;
                    }
                    Ok(Err(error)) => tracing::info!(%address, %error, "refused"),
                    Err(_) => tracing::info!(%address, "the handshake took too long"),
                }
            });
        }
    }

    /// Somebody with a place, who has not too many.
    fn admit(&self, who: Who, slot: OwnedSemaphorePermit) -> Option<Peer> {
        let tenant = Tenant::whose(who);
        let most = if tenant == Tenant::Host { MAX_CONNECTIONS } else { MAX_CONNECTIONS_OF_PEER };
        let share = self.shares.take(tenant, most);
        if share.is_none() {
            tracing::info!(%tenant, "refused: it has {most} connections");
        }
        Some(Peer::new(who, slot, share?))
    }

    /// The next connection, when there is a place for it; nothing when it is time to stop.
    pub(super) async fn next<T, F>(&self, mut accept: impl FnMut() -> F) -> Option<(OwnedSemaphorePermit, T)>
    where
        F: Future<Output = io::Result<T>>,
    {
        let next = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
            loop {
                match accept().await {
                    Ok(accepted) => return Some((slot, accepted)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            next = next => next,
            () = self.closed.cancelled() => None,
        }
    }

    /// Answers the requests of one connection until it ends or it is time to stop.
    async fn serve<S>(self, stream: S, peer: Peer, tls: Option<Tls>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stop, door) = (self.stop.clone(), self);
        let service = service_fn(move |request: Request<Incoming>| {
            let (door, peer, tls) = (door.clone(), peer.clone(), tls.clone());
            async move {
                let response = door.answer(request, peer, tls.as_ref()).await;
                door.observer.request(response.status().as_u16());
                Ok::<_, Infallible>(response)
            }
        });
        let stream = Patient::new(stream, HEAD_TIMEOUT);
        let builder = builder();
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(error, "a connection broke");
        }
    }

    /// Answers one request of `peer`.
    async fn answer(&self, request: Request<Incoming>, peer: Peer, tls: Option<&Tls>) -> Response {
        if let Some(Err(refused)) = tls.map(|tls| guard::check(&request, tls)) {
            tracing::info!(%peer, uri = %request.uri().path(), "refused: {refused}");
            return refused.into_response();
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        let routes = match version::strip(&mut request) {
            Ok(()) if monitor::answers(request.uri().path()) => Ok(self.monitored.clone()),
            Ok(()) => self.tenants.routes(&peer).await,
            Err(failure) => Err(failure),
        };
        let mut response = match routes {
            Ok(routes) => routes.oneshot(request).await.unwrap_or_else(|never| match never {}),
            Err(failure) => failure.into_response(),
        };
        version::put_headers(response.headers_mut());
        let status = response.status().as_u16();
        match method.is_safe() {
            true => tracing::debug!(%peer, %method, path, status),
            false => tracing::info!(%peer, %method, path, status),
        }
        response
    }
}

pub(super) fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}
