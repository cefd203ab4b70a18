//! Connections that BuildKit's clients take over: gRPC to the daemon (`POST /grpc`), and from it to their session
//! (`POST /session`).

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::{Answer, Daemon, Failure};
use crate::server::Peer;

/// What both are from then on.
const PROTOCOL: &str = "h2c";

pub(super) fn routes() -> Router<Daemon> {
    Router::new().route("/grpc", post(grpc)).route("/session", post(session))
}

async fn grpc(State(daemon): State<Daemon>, request: Request) -> Answer {
    let peer = request.extensions().get::<Peer>().cloned();
    take_over(request, |io| async move { daemon.buildkit.serve_grpc(io, peer).await })
}

async fn session(State(daemon): State<Daemon>, request: Request) -> Answer {
    let headers = request.headers().clone();
    daemon.buildkit.check_session(&headers)?;
    take_over(request, |io| async move {
        if let Err(error) = daemon.buildkit.serve_session(&headers, io).await {
            tracing::info!(%error, "a session was refused");
        }
    })
}

/// Answers that the connection is somebody else's from now on, and hands it to `serve`.
fn take_over<F>(mut request: Request, serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static) -> Answer
where
    F: Future<Output = ()> + Send + 'static,
{
    let asks = request.headers().get(header::UPGRADE).is_some_and(|protocol| protocol == PROTOCOL);
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>().filter(|_| asks);
    let on_upgrade =
        on_upgrade.ok_or_else(|| Failure::bad_request("the connection is not to become `h2c`"))?;
    let peer = request.extensions().get::<Peer>().cloned();
    tokio::spawn(async move {
        if let Ok(upgraded) = on_upgrade.await {
            serve(TokioIo::new(upgraded)).await;
        }
        // It counted as a connection until now.
        drop(peer);
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static(PROTOCOL)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}
