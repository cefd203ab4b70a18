//! Volumes.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use kiln_engine::Error;
use kiln_engine::containers::ListOptions;
use kiln_engine::volumes::Volume as Known;

use super::body::Json;
use super::events::Kind;
use super::model::volume::{Create, List, Pruned, UsageData, Volume};
use super::params::Params;
use super::{Answer, Daemon, Failure, json, task};

pub(super) fn routes() -> Router<Daemon> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).delete(remove))
}

/// A volume as it is shown.
pub(super) fn answer(volume: Known, usage_data: Option<UsageData>) -> Volume {
    Volume {
        created_at: volume.created,
        driver: "local",
        labels: volume.labels.into_iter().collect(),
        mountpoint: volume.mountpoint,
        name: volume.name,
        options: None,
        scope: "local",
        usage_data,
    }
}

fn missing(error: Error, name: &str) -> Failure {
    Failure::or_missing(error, || format!("get {name}: no such volume"))
}

/// `GET /volumes`
async fn list(State(daemon): State<Daemon>, params: Params) -> Answer {
    let filters = params.filters(&["name", "dangling", "label", "label!", "driver"])?;
    let dangling = filters.yes_or_no("dangling")?;
    let engine = daemon.engine.clone();
    let (volumes, containers) = task::blocking(move || {
        Ok((engine.volumes().list()?, engine.containers().list(&ListOptions { all: true })?))
    })
    .await?;
    let is_used = |name: &str| {
        containers
            .iter()
            .flat_map(|container| &container.mounts)
            .any(|mount| mount.name.as_deref() == Some(name))
    };
    let passes = |volume: &Known| {
        let labels = volume.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        filters.any("name", |name| volume.name.contains(name))
            && filters.any("driver", |driver| driver == "local")
            && filters.labels(labels)
            && dangling.is_none_or(|dangling| dangling != is_used(&volume.name))
    };
    let volumes = volumes.into_iter().filter(passes).map(|volume| answer(volume, None)).collect();
    Ok(json(StatusCode::OK, &List { volumes, warnings: Vec::new() }))
}

/// `POST /volumes/create`
async fn create(State(daemon): State<Daemon>, body: Json<Create>) -> Answer {
    let asked = body.0.unwrap_or_default();
    if !matches!(asked.driver.as_str(), "" | "local") {
        return Err(Failure::lacking(format!("the volume driver `{}`", asked.driver)));
    }
    if !asked.driver_opts.is_empty() {
        return Err(Failure::lacking("options of volume drivers"));
    }
    let (engine, name) = (daemon.engine.clone(), asked.name);
    let labels: Vec<(String, String)> = asked.labels.into_iter().collect();
    let volume = task::blocking(move || {
        engine.volumes().create(Some(name.as_str()).filter(|name| !name.is_empty()), &labels)
    })
    .await?;
    daemon.events.tell(Kind::Volume, "create", &volume.name, [("driver".to_owned(), "local".to_owned())]);
    Ok(json(StatusCode::CREATED, &answer(volume, None)))
}

/// `GET /volumes/{name}`
async fn inspect(State(daemon): State<Daemon>, Path(name): Path<String>) -> Answer {
    let (engine, wanted) = (daemon.engine.clone(), name.clone());
    let found = task::run(move || engine.volumes().inspect(&wanted)).await;
    Ok(json(StatusCode::OK, &answer(found.map_err(|error| missing(error, &name))?, None)))
}

/// `DELETE /volumes/{name}`
async fn remove(State(daemon): State<Daemon>, Path(name): Path<String>, params: Params) -> Answer {
    let (engine, wanted, force) = (daemon.engine.clone(), name.clone(), params.is_on("force"));
    let removed = task::run(move || engine.volumes().remove(&wanted, force)).await;
    removed.map_err(|error| missing(error, &name))?;
    daemon.events.tell(Kind::Volume, "destroy", &name, [("driver".to_owned(), "local".to_owned())]);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /volumes/prune`: anonymous ones, and with the filter `all` named ones too.
async fn prune(State(daemon): State<Daemon>, params: Params) -> Answer {
    let filters = params.filters(&["all", "label", "label!"])?;
    if let Some(lacking) = ["label", "label!"].into_iter().find(|name| filters.has(name)) {
        return Err(Failure::lacking(format!("the filter `{lacking}` of a volume prune")));
    }
    let all = filters.yes_or_no("all")?.unwrap_or_default();
    let engine = daemon.engine.clone();
    let report = task::blocking(move || engine.volumes().prune(all)).await?;
    let answer = Pruned { volumes_deleted: report.deleted, space_reclaimed: report.reclaimed };
    Ok(json(StatusCode::OK, &answer))
}
