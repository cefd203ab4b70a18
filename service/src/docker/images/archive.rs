//! Archives of images: `get` and `load`.

use std::io::Write as _;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::{missing, platform};
use crate::docker::events::Kind;
use crate::docker::messages::{self, Message};
use crate::docker::params::Params;
use crate::docker::stream::{BodyReader, BodyWriter, channel};
use crate::docker::{Answer, Daemon, Failure, task};

/// `GET /images/get`
pub(super) async fn save_several(State(daemon): State<Daemon>, params: Params) -> Answer {
    let names: Vec<String> = params.all("names").map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Failure::bad_request("the request names no image to save"));
    }
    save(&daemon, names, &params).await
}

/// Sends images as an archive. What is not here is told before the first byte.
pub(super) async fn save(daemon: &Daemon, names: Vec<String>, params: &Params) -> Answer {
    let platform = platform(params)?;
    for name in &names {
        let (engine, wanted, of_platform) = (daemon.engine.clone(), name.clone(), platform.clone());
        let found = task::run(move || engine.images().inspect(&wanted, of_platform.as_deref())).await;
        let id = found.map_err(|error| missing(error, name))?.summary.id;
        complete(daemon, name, platform.as_deref()).await?;
        daemon.events.tell(Kind::Image, "save", id.as_str(), [("name".to_owned(), name.clone())]);
    }
    let (sender, body) = channel();
    let engine = daemon.engine.clone();
    task::thread("save", move || {
        let mut writer = BodyWriter::new(sender.clone());
        let saved = engine.images().save(&names, platform.as_deref(), &mut writer);
        let flushed = writer.flush();
        if let Some(error) = saved.err().map(|error| error.chain()).or(flushed.err().map(|e| e.to_string())) {
            // The connection is cut, so that nobody takes a part for the whole.
            let _ = sender.blocking_send(Err(std::io::Error::other(error)));
        }
    })?;
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], body).into_response())
}

/// Layers that no step of a build needed may still be at their registry.
async fn complete(daemon: &Daemon, name: &str, platform: Option<&str>) -> Result<(), Failure> {
    let (engine, wanted, of_platform) = (daemon.engine.clone(), name.to_owned(), platform.map(str::to_owned));
    if !task::blocking(move || engine.images().is_complete(&wanted, of_platform.as_deref())).await? {
        daemon.engine.images().complete(name, platform, &kiln_engine::progress::Silent).await?;
    }
    Ok(())
}

/// `POST /images/load`
pub(super) async fn load(State(daemon): State<Daemon>, body: Body) -> Answer {
    let (engine, reader, events) = (daemon.engine.clone(), BodyReader::new(body), daemon.clone());
    messages::answer(&daemon, |messages, _gone| async move {
        for (names, id) in task::long("load", move || engine.images().load(reader)).await? {
            if names.is_empty() {
                messages.send(&Message::stream(format!("Loaded image ID: {id}\n")));
            }
            for name in names {
                messages.send(&Message::stream(format!("Loaded image: {}\n", name.familiar())));
            }
            events.events.tell(Kind::Image, "load", id.as_str(), []);
        }
        Ok(())
    })
    .await
}
