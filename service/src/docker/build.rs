//! `POST /build`: a build as the classic builder's clients ask for it, or BuildKit's (`session`).

mod progress;
mod prune;
mod request;
mod session;
mod solve_request;
mod uploads;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Extension, Router};
use kiln_engine::build::BuildResult;
use kiln_engine::{Error, ErrorKind};
use serde::Serialize;

use super::events::Kind;
use super::messages::{self, Message, Messages};
use super::params::Params;
use super::{Answer, Daemon, Failure, auth, json, task};
use crate::observe::Watched;
use crate::server::Peer;
use progress::Progress;
pub(crate) use uploads::Uploads;

pub(super) fn routes() -> Router<Daemon> {
    Router::new()
        .route("/build", post(build))
        .route("/build/cancel", post(cancel))
        .route("/build/prune", post(prune))
}

/// `POST /build`
async fn build(
    State(daemon): State<Daemon>,
    peer: Option<Extension<Peer>>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    if session::is_meant(&params) {
        return session::build(daemon, &params, body).await;
    }
    let engine = auth::for_build(&daemon.engine, &headers)?;
    let quiet = params.is_on("q");
    let request = request::of(&params, body, daemon.environment.clone())?;
    let of_work = daemon.clone();
    let client = peer.map(|Extension(peer)| peer.to_string()).unwrap_or_default();
    messages::answer(&daemon, |messages, gone| async move {
        let _turn = tokio::select! {
            turn = of_work.buildkit.turn(&client) => turn,
            () = gone.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "the build was given up").into()),
        };
        let progress = Arc::new(Progress::start(messages.clone(), quiet)?);
        let watched = Watched::begin("docker", Arc::clone(&progress));
        let built = engine.build(request, watched.clone(), gone).await;
        watched.end(&built, of_work.buildkit.observer());
        progress.finish();
        let built = built.map_err(|error| failed(error, quiet))?;
        say_result(&of_work, &messages, &built, quiet);
        Ok(())
    })
    .await
}

/// The message with the lines that are to blame; the log was told already, unless nothing was.
fn failed(error: Error, quiet: bool) -> Failure {
    let log = error.log.as_deref().filter(|_| quiet).map(str::to_owned);
    let detail = error.detail.as_deref().map(str::to_owned);
    let hint = error.hint.as_ref().map(|hint| format!("hint: {hint}"));
    let Failure { status, message, code } = Failure::from(error);
    let parts = [log, detail, Some(message), hint].into_iter().flatten();
    let parts: Vec<String> = parts.map(|part| part.trim_end().to_owned()).collect();
    Failure { status, message: parts.join("\n"), code }
}

/// What programs look for at the end of a build.
fn say_result(daemon: &Daemon, messages: &Messages, built: &BuildResult, quiet: bool) {
    #[derive(Serialize)]
    struct Id<'a> {
        #[serde(rename = "ID")]
        id: &'a str,
    }
    let Some(image) = built.image() else { return };
    let id = image.id();
    messages.send(&Message::aux(&Id { id: id.as_str() }));
    if quiet {
        return messages.send(&Message::stream(format!("{id}\n")));
    }
    messages.send(&Message::stream(format!("Successfully built {}\n", id.short())));
    for name in &image.names {
        messages.send(&Message::stream(format!("Successfully tagged {}\n", name.familiar())));
        daemon.events.tell(Kind::Image, "tag", id.as_str(), [("name".to_owned(), name.familiar())]);
    }
    daemon.events.tell(Kind::Builder, "build", id.as_str(), []);
}

/// `POST /build/cancel`
async fn cancel(State(daemon): State<Daemon>, params: Params) -> Answer {
    session::cancel(&daemon, &params)
}

/// What a prune of the build cache took away.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pruned {
    caches_deleted: Vec<String>,
    space_reclaimed: u64,
}

/// `POST /build/prune`
async fn prune(State(daemon): State<Daemon>, params: Params) -> Answer {
    let asked = prune::Asked::read(&params)?;
    let engine = daemon.engine.clone();
    let (space_reclaimed, _) = task::blocking(move || asked.carry_out(&engine)).await?;
    Ok(json(StatusCode::OK, &Pruned { caches_deleted: Vec::new(), space_reclaimed }))
}
