//! What monitoring asks: numbers and whether all is well, on every door of the API and on one of their own.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use kiln_engine::CancellationToken;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::connection::builder;
use super::tenants::Tenants;
use super::{ServeError, limits, listen_error};
use crate::observe::{Gauges, Observer, PATH};

/// Where it is asked whether all is well.
const HEALTH: &str = "/healthz";
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether this is what monitoring asks.
pub(super) fn answers(path: &str) -> bool {
    path == PATH || path == HEALTH
}

/// What is answered; `slots` are the places for connections that are free.
pub(super) fn routes(tenants: Tenants, slots: Arc<Semaphore>, observer: Arc<Observer>) -> Router {
    let metrics = move || {
        let gauges = Gauges {
            builds: tenants.builds(),
            sessions: tenants.sessions(),
            connections: limits::MAX_CONNECTIONS - slots.available_permits(),
        };
        let text = observer.text(&gauges);
        async move { ([(header::CONTENT_TYPE, TYPE)], text).into_response() }
    };
    Router::new().route(PATH, get(metrics)).route(HEALTH, get(|| async { "ok\n" }))
}

/// Listens where monitoring has a door of its own.
pub(super) async fn open(address: Option<&str>) -> Result<Option<TcpListener>, ServeError> {
    let Some(address) = address else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    tracing::info!(address, "listening for monitoring");
    bound.map(Some).map_err(|source| listen_error(address, source))
}

/// Answers whoever comes, a few at a time, until it is closed. There is nothing to be had but what `routes` answer.
pub(super) async fn serve(listener: TcpListener, routes: Router, closed: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits::MAX_MONITORS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closed.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            // One who breaks off has what it wanted or comes again.
            let served = builder().serve_connection(TokioIo::new(stream), service).into_owned();
            drop(tokio::time::timeout(limits::MONITOR_TIMEOUT, served).await);
            drop(slot);
        });
    }
}
