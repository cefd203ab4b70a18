//! What the Docker API has and kiln does not: told by name, so that nobody looks for the mistake elsewhere.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get, post};

use super::model::Empty;
use super::{Answer, Daemon, Failure, json};

/// Where swarm lives; clients know this answer.
const SWARM: [&str; 6] = ["/swarm", "/services", "/nodes", "/tasks", "/secrets", "/configs"];

pub(super) fn routes() -> Router<Daemon> {
    let lacking = |what: &'static str| any(move || async move { Failure::lacking(what) });
    let mut router = Router::new()
        .route("/commit", post(|| async { Failure::lacking("`docker commit`") }))
        .route("/images/search", get(|| async { Failure::lacking("the search of images") }))
        .route("/build/cancel", lacking("the cancelling of builds by id; one ends when its client goes away"))
        .route("/plugins", get(no_plugins))
        .route("/plugins/{*rest}", lacking("plugins"))
        .route("/containers/{id}/update", lacking("`docker update`"))
        .route("/containers/{id}/changes", lacking("`docker diff`"))
        .route("/containers/{id}/export", lacking("`docker export`"))
        .route("/containers/{id}/stats", lacking("`docker stats`"))
        .route("/containers/{id}/attach/ws", lacking("attaching over a WebSocket"))
        .route("/containers/{id}/checkpoints", lacking("checkpoints"));
    for path in SWARM {
        router = router.route(path, any(no_swarm)).route(&format!("{path}/{{*rest}}"), any(no_swarm));
    }
    router
}

async fn no_plugins() -> Answer {
    Ok(json(StatusCode::OK, &Vec::<Empty>::new()))
}

async fn no_swarm() -> Failure {
    let message = "This node is not a swarm manager. kiln does not have swarm.";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
}
