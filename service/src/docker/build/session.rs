//! `POST /build` with `version=2`: a build of the client's session, as docker commands without buildx ask for it.

use std::collections::HashMap;
use std::pin::pin;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use futures_util::StreamExt as _;
use kiln_engine::build::Input;
use prost::Message as _;
use serde_json::json;

use super::solve_request;
use crate::docker::events::Kind;
use crate::docker::messages::{self, Message, Messages};
use crate::docker::params::Params;
use crate::docker::stream::BodyReader;
use crate::docker::{Answer, Daemon, Failure};

/// What comes before the build's id where a request brings its context and nothing else; the same is the build's `remote`.
pub(super) const UPLOAD: &str = "upload-request";
/// What programs look for: the image, and what is told of the build, a `StatusResponse` in base64.
const IMAGE: &str = "moby.image.id";
const TRACE: &str = "moby.buildkit.trace";

/// Whether a build is one of those.
pub(super) fn is_meant(params: &Params) -> bool {
    params.text("version") == Some("2")
}

/// Builds, or takes the context of a build.
pub(super) async fn build(daemon: Daemon, params: &Params, body: Body) -> Answer {
    let id = params.text("buildid").unwrap_or_default();
    if let Some(id) = id.strip_prefix(UPLOAD).and_then(|rest| rest.strip_prefix(':')) {
        daemon.uploads.bring(id, body).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let id = if id.is_empty() { kiln_engine::new_id()? } else { id.to_owned() };
    let request = solve_request::of(params, &id)?;
    let context = context(&daemon, params, &id, body).await?;
    let quiet = params.is_on("q");
    let of_work = daemon.clone();
    messages::answer(&daemon, |messages, gone| async move {
        let (told, solved) = of_work.buildkit.begin(request, context).map_err(|status| failed(&status))?;
        let telling = async {
            let mut told = pin!(told);
            while let Some(Ok(status)) = told.next().await {
                if !quiet {
                    messages.send(&trace(&status));
                }
            }
        };
        let building = async { tokio::join!(telling, solved).1 };
        let built = tokio::select! {
            built = building => built.map_err(|status| failed(&status))?,
            () = gone.cancelled() => return Ok(()),
        };
        say_result(&of_work, &messages, &built, quiet);
        Ok(())
    })
    .await
}

/// The context, where it is no folder of the session.
async fn context(daemon: &Daemon, params: &Params, id: &str, body: Body) -> Result<Option<Input>, Failure> {
    let body = match params.text("remote") {
        None => body,
        Some(UPLOAD) => daemon.uploads.take(id).await?,
        Some(_) => return Ok(None),
    };
    Ok(Some(Input::new(BodyReader::new(body))))
}

fn failed(status: &tonic::Status) -> Failure {
    let code = match status.code() {
        tonic::Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        tonic::Code::AlreadyExists => StatusCode::CONFLICT,
        tonic::Code::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Failure::new(code, status.message())
}

fn trace(status: &StatusResponse) -> Message {
    Message::called(TRACE, &STANDARD.encode(status.encode_to_vec()))
}

fn say_result(daemon: &Daemon, messages: &Messages, built: &HashMap<String, String>, quiet: bool) {
    let of = |key: &str| built.get(key);
    let Some(id) = of("containerimage.config.digest").or(of("containerimage.digest")) else { return };
    messages.send(&Message::called(IMAGE, &json!({ "ID": id })));
    if quiet {
        messages.send(&Message::stream(format!("{id}\n")));
    }
    for name in of("image.name").iter().flat_map(|names| names.split(',')) {
        daemon.events.tell(Kind::Image, "tag", id, [("name".to_owned(), name.to_owned())]);
    }
    daemon.events.tell(Kind::Builder, "build", id, []);
}

/// `POST /build/cancel`; a build that is over is no error.
pub(super) fn cancel(daemon: &Daemon, params: &Params) -> Answer {
    let id = params.text("id").ok_or_else(|| Failure::bad_request("build ID not provided"))?;
    daemon.buildkit.cancel(id);
    Ok(StatusCode::OK.into_response())
}
