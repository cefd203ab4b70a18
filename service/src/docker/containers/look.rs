//! `GET /containers/{id}/top`

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::missing;
use crate::docker::model::container::Top;
use crate::docker::{Answer, Daemon, json, task};

/// `GET /containers/{id}/top`; the table is that of `ps -ef`, whatever `ps_args` says.
pub(super) async fn top(State(daemon): State<Daemon>, Path(name): Path<String>) -> Answer {
    let (engine, wanted) = (daemon.engine.clone(), name.clone());
    let table =
        task::run(move || engine.containers().top(&wanted)).await.map_err(|error| missing(error, &name))?;
    Ok(json(StatusCode::OK, &Top { titles: table.titles, processes: table.rows }))
}
