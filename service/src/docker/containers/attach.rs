//! `POST /containers/{id}/attach` and `resize`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use kiln_engine::attach::AttachOptions;
use kiln_engine::containers::Container;
use tokio::sync::oneshot;

use super::runs::{Viewer, is_active, show};
use super::{find, logs, tell};
use crate::docker::hijack::{self, DetachKeys, Duplex, hijack};
use crate::docker::params::Params;
use crate::docker::version::ApiVersion;
use crate::docker::{Answer, Daemon, Failure, task};

/// `POST /containers/{id}/attach`
///
/// A container that does not run yet is watched from its start on: that is how `docker run` misses nothing.
pub(super) async fn attach(
    State(daemon): State<Daemon>,
    Path(name): Path<String>,
    Extension(version): Extension<ApiVersion>,
    params: Params,
    request: Request,
) -> Answer {
    let container = find(&daemon, &name).await?;
    let tty = container.options.tty;
    let keys = match tty {
        true => DetachKeys::parse(params.text("detachKeys"))?,
        false => DetachKeys::none(),
    };
    let wanted = [params.is_on("stdout"), params.is_on("stderr")];
    let (response, Duplex { output, input, over }) = hijack(request, hijack::content_type(!tty, version));
    if params.is_on("logs") {
        logs::replay(&daemon, &container, output.clone(), wanted).await?;
    }
    if !params.is_on("stream") {
        return Ok(response);
    }
    let (tell_way, way) = oneshot::channel();
    // Not a way to the client by itself: the stream ends with the process.
    let weak = output.downgrade();
    let viewer = Viewer { output, framed: !tty, wanted, input: Some(tell_way) };
    let input = input.filter(|_| params.is_on("stdin") && container.options.open_stdin);
    let runs = is_active(&container);
    tokio::spawn(async move {
        let Ok(process) = way.await else { return };
        let fed =
            input.map(|input| hijack::feed(input, Arc::clone(&process), keys, move || hijack::end(&weak)));
        if let Some(Err(error)) = fed {
            tracing::warn!(error = error.chain(), "a container gets no input");
        }
        over.cancelled().await;
        // One that was watched from its start on is watched by others too.
        if runs {
            process.hang_up();
        }
    });
    tell(&daemon, "attach", &container, []);
    if runs {
        watch(&daemon, &container, viewer).await?;
    } else {
        daemon.runs.watch(&container.id, viewer);
    }
    Ok(response)
}

/// Connects a viewer to a container that runs.
async fn watch(daemon: &Daemon, container: &Container, viewer: Viewer) -> Result<(), Failure> {
    let (engine, id) = (daemon.engine.clone(), container.id.clone());
    task::blocking(move || {
        let options = AttachOptions { stdin: true, output: true, ..AttachOptions::default() };
        let attach = engine.containers().attach(&id, &options)?;
        task::thread("attach", move || {
            // Whoever waits for the end asks for the code elsewhere.
            let _ = show(attach, viewer);
        })
    })
    .await
}

/// `POST /containers/{id}/resize`
pub(super) async fn resize(State(daemon): State<Daemon>, Path(name): Path<String>, params: Params) -> Answer {
    let container = find(&daemon, &name).await?;
    let size = size(&params)?;
    let (engine, id) = (daemon.engine.clone(), container.id.clone());
    task::blocking(move || {
        let options = AttachOptions { size: Some(size), ..AttachOptions::default() };
        engine.containers().attach(&id, &options).map(drop)
    })
    .await?;
    tell(&daemon, "resize", &container, []);
    Ok(StatusCode::OK.into_response())
}

/// Rows and columns.
pub(crate) fn size(params: &Params) -> Result<(u16, u16), Failure> {
    match (params.number("h")?, params.number("w")?) {
        (Some(rows), Some(columns)) => Ok((rows, columns)),
        _ => Err(Failure::bad_request("a size has `h` and `w`")),
    }
}
