//! The Docker Engine API 1.40 to 1.51 over `engine`.
//!
//! ```text
//! Request --params, json--> plain data --engine--> plain data --model--> JSON
//! ```

mod auth;
mod body;
mod build;
mod containers;
mod daemon;
mod events;
mod exec;
mod failure;
mod filters;
mod hijack;
mod images;
mod messages;
mod missing;
mod model;
mod networks;
mod params;
mod stream;
mod system;
mod takeover;
mod task;
mod time;
pub(crate) mod version;
mod volumes;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

pub use daemon::Daemon;
pub use failure::Failure;
pub use images::{digests, tags, with_all_keys};
pub(crate) use task::blocking;
pub use time::since;

/// What a handler answers.
pub(crate) type Answer = Result<Response, Failure>;

/// All routes of the API, and BuildKit's on the same connections. What kiln lacks is answered with its name, what nobody has with `page not found`.
pub fn routes(daemon: Daemon) -> Router {
    let buildkit = daemon.buildkit.routes();
    Router::new()
        .merge(system::routes())
        .merge(images::routes())
        .merge(build::routes())
        .merge(containers::routes())
        .merge(exec::routes())
        .merge(volumes::routes())
        .merge(networks::routes())
        .merge(takeover::routes())
        .merge(missing::routes())
        .fallback(page_not_found)
        .method_not_allowed_fallback(page_not_found)
        .with_state(daemon)
        .merge(buildkit.reset_fallback())
}

async fn page_not_found() -> Failure {
    Failure::no_page()
}

/// A value as the JSON body of an answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("write the answer: {error}"))
            .into_response(),
    }
}
