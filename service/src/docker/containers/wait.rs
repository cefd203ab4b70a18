//! `POST /containers/{id}/wait`: the answer begins at once, and ends with the container.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream;
use kiln_engine::ErrorKind;
use kiln_engine::containers::Container;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::find;
use super::runs::{Ended, is_active, see_to};
use crate::docker::model::container::Waited;
use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, Failure, task};

/// How often it is looked whether a container has ended, or is still there.
const LOOK: Duration = Duration::from_millis(200);

/// `POST /containers/{id}/wait`
pub(super) async fn wait(State(daemon): State<Daemon>, Path(name): Path<String>, params: Params) -> Answer {
    // Heard before it is looked at, so that an end in between is not missed.
    let ends = daemon.runs.listen();
    let mut container = find(&daemon, &name).await?;
    // One that ended since has nobody who would tell of it: that is in its record in a moment.
    while is_active(&container) && !is_seen_to(&daemon, &container).await? {
        tokio::time::sleep(LOOK).await;
        container = find(&daemon, &container.id).await?;
    }
    let condition = params.text("condition").unwrap_or("not-running");
    let runs = is_active(&container);
    let next = match condition {
        "not-running" => runs,
        "next-exit" => true,
        // One that was made and not started yet will be.
        "removed" => runs || container.state.finished_at.is_none(),
        other => return Err(Failure::bad_request(format!("invalid condition: \"{other}\""))),
    };
    let removed = condition == "removed";
    let stop = daemon.stop.clone();
    let code = async move {
        let code =
            if next { next_end(&daemon, &container, ends, runs).await } else { container.state.exit_code };
        if removed {
            gone(&daemon, &container.id).await;
        }
        let line = serde_json::to_vec(&Waited { status_code: code }).unwrap_or_default();
        Ok::<_, io::Error>(Bytes::from(line))
    };
    // The container goes on without us; its client is told by a connection that breaks.
    let code = async move {
        tokio::select! {
            code = code => code,
            () = stop.cancelled() => Err(io::ErrorKind::Interrupted.into()),
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream::once(code))).into_response())
}

/// Sees to it that the end of a running container will be told; whether it will.
async fn is_seen_to(daemon: &Daemon, container: &Container) -> Result<bool, Failure> {
    let (daemon, container) = (daemon.clone(), container.clone());
    task::blocking(move || see_to(&daemon, &container)).await
}

/// The code of the next end of a container.
async fn next_end(daemon: &Daemon, container: &Container, mut ends: Receiver<Ended>, runs: bool) -> i32 {
    loop {
        match ends.recv().await {
            // One that ran when it was looked at has an end with a code.
            Ok(Ended { id, code }) if id == container.id && (code.is_some() || !runs) => {
                return code.unwrap_or(container.state.exit_code);
            }
            Ok(_) => {}
            // Some ends were missed; perhaps this one.
            Err(RecvError::Lagged(_)) => match find(daemon, &container.id).await {
                Ok(now) if runs && !is_active(&now) => return now.state.exit_code,
                Ok(_) => {}
                Err(_) => return container.state.exit_code,
            },
            Err(RecvError::Closed) => return container.state.exit_code,
        }
    }
}

/// Waits until a container is gone.
async fn gone(daemon: &Daemon, id: &str) {
    loop {
        let (engine, wanted) = (daemon.engine.clone(), id.to_owned());
        let found = task::run(move || engine.containers().inspect(&wanted)).await;
        if found.is_err_and(|error| error.kind == ErrorKind::NotFound) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
