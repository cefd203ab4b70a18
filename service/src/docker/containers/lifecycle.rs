//! Starting, stopping, signals, freezing, names.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use kiln_engine::attach::AttachOptions;
use kiln_engine::containers::{Container, Containers, RemoveOptions};
use kiln_engine::{Error, ErrorKind, Result};

use super::runs::{is_active, mind};
use super::{find, missing, tell};
use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, Failure, task};

/// `POST /containers/{id}/start`
pub(super) async fn start(State(daemon): State<Daemon>, Path(name): Path<String>) -> Answer {
    let container = find(&daemon, &name).await?;
    if is_active(&container) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let starter = daemon.clone();
    let started = task::run(move || run(&starter, &container));
    started.await.map_err(|error| not_started(error, &name))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Starts a container for those who attached to it before.
fn run(daemon: &Daemon, container: &Container) -> Result<()> {
    let viewers = daemon.runs.take_viewers(&container.id);
    let options = AttachOptions { stdin: true, output: !viewers.is_empty(), ..AttachOptions::default() };
    match daemon.engine.containers().start(&container.id, Some(&options)) {
        Ok(Some(attach)) => {
            tell(daemon, "start", container, []);
            mind(daemon, container.clone(), attach, viewers)
        }
        Ok(None) => Ok(()),
        Err(error) => {
            // One that is to be removed at its end is of no use to anybody.
            if container.options.auto_remove {
                let options = RemoveOptions { force: true, volumes: true };
                let _ = daemon.engine.containers().remove(&container.id, options);
            }
            daemon.runs.tell(&container.id, exit_code(error.kind));
            Err(error)
        }
    }
}

/// The exit code of a container whose program did not start.
fn exit_code(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::CommandNotFound => 127,
        ErrorKind::CommandNotExecutable => 126,
        _ => 125,
    }
}

/// Docker's clients look for these words to choose their own exit code.
pub(crate) fn not_started(error: Error, name: &str) -> Failure {
    let words = match error.kind {
        ErrorKind::CommandNotFound => ": executable file not found in $PATH",
        ErrorKind::CommandNotExecutable => ": permission denied",
        _ => return missing(error, name),
    };
    let Failure { status, message, code } = Failure::from(error);
    Failure { status, message: message + words, code }
}

/// `POST /containers/{id}/stop`
pub(super) async fn stop(State(daemon): State<Daemon>, Path(name): Path<String>, params: Params) -> Answer {
    let container = find(&daemon, &name).await?;
    if !is_active(&container) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let (signal, timeout) = signal_and_time(&params)?;
    act(&daemon, &container, "stop", move |containers, id| containers.stop(id, signal.as_deref(), timeout))
        .await
}

/// `POST /containers/{id}/restart`
pub(super) async fn restart(
    State(daemon): State<Daemon>,
    Path(name): Path<String>,
    params: Params,
) -> Answer {
    let container = find(&daemon, &name).await?;
    let (signal, timeout) = signal_and_time(&params)?;
    let (starter, id) = (daemon.clone(), container.id.clone());
    let restarted = task::long("restart", move || {
        starter.engine.containers().stop(&id, signal.as_deref(), timeout)?;
        let container = starter.engine.containers().inspect(&id)?;
        run(&starter, &container)
    });
    restarted.await.map_err(|error| not_started(error, &name))?;
    tell(&daemon, "restart", &container, []);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /containers/{id}/kill`
pub(super) async fn kill(State(daemon): State<Daemon>, Path(name): Path<String>, params: Params) -> Answer {
    let container = find(&daemon, &name).await?;
    if !is_active(&container) {
        let message = format!("cannot kill container: {name}: container {} is not running", container.id);
        return Err(Failure::new(StatusCode::CONFLICT, message));
    }
    let signal = params.text("signal").unwrap_or("KILL").to_owned();
    act(&daemon, &container, "kill", move |containers, id| containers.kill(id, &signal)).await
}

/// `POST /containers/{id}/pause`
pub(super) async fn pause(State(daemon): State<Daemon>, Path(name): Path<String>) -> Answer {
    let container = find(&daemon, &name).await?;
    act(&daemon, &container, "pause", |containers, id| containers.pause(id)).await
}

/// `POST /containers/{id}/unpause`
pub(super) async fn unpause(State(daemon): State<Daemon>, Path(name): Path<String>) -> Answer {
    let container = find(&daemon, &name).await?;
    act(&daemon, &container, "unpause", |containers, id| containers.unpause(id)).await
}

/// `POST /containers/{id}/rename`
pub(super) async fn rename(State(daemon): State<Daemon>, Path(name): Path<String>, params: Params) -> Answer {
    let Some(new) = params.text("name").map(|name| name.trim_start_matches('/').to_owned()) else {
        return Err(Failure::bad_request("Neither old nor new names may be empty"));
    };
    let container = find(&daemon, &name).await?;
    act(&daemon, &container, "rename", move |containers, id| containers.rename(id, &new)).await
}

/// Does something to a container and tells of it.
async fn act(
    daemon: &Daemon,
    container: &Container,
    action: &'static str,
    work: impl FnOnce(Containers<'_>, &str) -> Result<()> + Send + 'static,
) -> Answer {
    let (engine, id) = (daemon.engine.clone(), container.id.clone());
    // A stop takes as long as its client says.
    let done = task::long(action, move || work(engine.containers(), &id)).await;
    done.map_err(|error| missing(error, &container.id))?;
    tell(daemon, action, container, []);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What `stop` and `restart` are told. A negative time is without end.
fn signal_and_time(params: &Params) -> std::result::Result<(Option<String>, Option<Duration>), Failure> {
    /// As good as without end.
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let seconds = params.number::<i64>("t")?;
    let time = seconds.map(|seconds| u64::try_from(seconds).map_or(YEAR, Duration::from_secs));
    Ok((params.text("signal").map(str::to_owned), time))
}
