//! `DELETE /containers/{id}` and `POST /containers/prune`

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use kiln_engine::containers::RemoveOptions;

use super::runs::is_active;
use super::{find, missing, tell};
use crate::docker::events::Kind;
use crate::docker::model::container::Pruned;
use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, Failure, json, task};

/// `DELETE /containers/{id}`
pub(super) async fn remove(State(daemon): State<Daemon>, Path(name): Path<String>, params: Params) -> Answer {
    if params.is_on("link") {
        return Err(Failure::lacking("links between containers"));
    }
    let container = find(&daemon, &name).await?;
    let options = RemoveOptions { force: params.is_on("force"), volumes: params.is_on("v") };
    let (engine, id) = (daemon.engine.clone(), container.id.clone());
    let removed = task::run(move || engine.containers().remove(&id, options)).await;
    removed.map_err(|error| missing(error, &name))?;
    // The end of one that ran is told by who looks after it.
    match is_active(&container) {
        true => drop(daemon.runs.take_viewers(&container.id)),
        false => daemon.runs.forget(&container.id),
    }
    daemon.execs.forget(&container.id);
    tell(&daemon, "destroy", &container, []);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /containers/prune`
pub(super) async fn prune(State(daemon): State<Daemon>, params: Params) -> Answer {
    let filters = params.filters(&["until", "label", "label!"])?;
    if let Some(lacking) = ["until", "label", "label!"].into_iter().find(|name| filters.has(name)) {
        return Err(Failure::lacking(format!("the filter `{lacking}` of a container prune")));
    }
    let engine = daemon.engine.clone();
    let report = task::blocking(move || engine.containers().prune()).await?;
    for id in &report.deleted {
        daemon.runs.forget(id);
        daemon.execs.forget(id);
        daemon.events.tell(Kind::Container, "destroy", id, []);
    }
    let answer = Pruned { containers_deleted: report.deleted, space_reclaimed: report.reclaimed };
    Ok(json(StatusCode::OK, &answer))
}
