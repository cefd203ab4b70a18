//! `DELETE /images/{name}` and `POST /images/prune`

use axum::extract::{Path, State};
use kiln_engine::images::Removed as Gone;

use super::{missing, ok};
use crate::docker::events::Kind;
use crate::docker::model::image::{Pruned, Removed};
use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, Failure, task};

/// `DELETE /images/{name}`
pub(super) async fn remove(State(daemon): State<Daemon>, Path(name): Path<String>, params: Params) -> Answer {
    if params.text("platforms").is_some() {
        return Err(Failure::lacking("the removal of some platforms of an image"));
    }
    let (engine, wanted, force) = (daemon.engine.clone(), name.clone(), params.is_on("force"));
    let removed = task::run(move || engine.images().remove(&wanted, force)).await;
    let removed = removed.map_err(|error| missing(error, &name))?;
    let told = |gone: Gone| match gone {
        Gone::Untagged(name) => {
            daemon.events.tell(Kind::Image, "untag", &name.familiar(), []);
            Removed::Untagged(name.familiar())
        }
        Gone::Deleted(id) => {
            daemon.events.tell(Kind::Image, "delete", id.as_str(), []);
            Removed::Deleted(id.to_string())
        }
    };
    ok(&removed.into_iter().map(told).collect::<Vec<_>>())
}

/// `POST /images/prune`
pub(super) async fn prune(State(daemon): State<Daemon>, params: Params) -> Answer {
    let filters = params.filters(&["dangling", "until", "label", "label!"])?;
    if let Some(lacking) = ["until", "label", "label!"].into_iter().find(|name| filters.has(name)) {
        return Err(Failure::lacking(format!("the filter `{lacking}` of an image prune")));
    }
    let all = filters.yes_or_no("dangling")? == Some(false);
    let engine = daemon.engine.clone();
    let report = task::blocking(move || engine.images().prune(all)).await?;
    let images_deleted = report.deleted.iter().filter_map(|line| removed(line)).collect();
    ok(&Pruned { images_deleted, space_reclaimed: report.reclaimed })
}

/// A line of the engine's report.
fn removed(line: &str) -> Option<Removed> {
    match line.split_once(": ")? {
        ("untagged", name) => Some(Removed::Untagged(name.to_owned())),
        ("deleted", id) => Some(Removed::Deleted(id.to_owned())),
        _ => None,
    }
}
