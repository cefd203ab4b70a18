//! `POST /images/create` (a pull, or an import), and what a registry has.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use kiln_engine::images::ImportOptions;
use kiln_engine::oci::Reference;
use kiln_engine::{Engine, Error, ErrorKind};

use super::{ok, platform, with_tag};
use crate::docker::events::Kind;
use crate::docker::messages::{self, Message, Transfers, Words};
use crate::docker::model::image::Distribution;
use crate::docker::params::Params;
use crate::docker::stream::BodyReader;
use crate::docker::{Answer, Daemon, Failure, auth, task};

/// `POST /images/create`
pub(super) async fn create(
    State(daemon): State<Daemon>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    match (params.text("fromImage"), params.text("fromSrc")) {
        (Some(image), _) => pull(&daemon, image, &params, &headers).await,
        (None, Some("-")) => import(&daemon, &params, body).await,
        (None, Some(_)) => Err(Failure::lacking("the import of a URL; fetch it and import the file")),
        (None, None) => Err(Failure::bad_request("the request names no image to pull")),
    }
}

async fn pull(daemon: &Daemon, image: &str, params: &Params, headers: &HeaderMap) -> Answer {
    let reference = reference(&with_tag(image, params.text("tag")))?;
    let engine = auth::for_registry(&daemon.engine, headers, reference.registry())?;
    let (platform, events) = (platform(params)?, daemon.clone());
    messages::answer(daemon, |messages, gone| async move {
        let status = |text: String| messages.send(&Message::status(text));
        let name = reference.familiar();
        let transfers = Transfers::new(messages.clone(), Words::PULL);
        let images = engine.images();
        let pulled = tokio::select! {
            pulled = images.pull(&name, platform.as_deref(), &transfers) => pulled?,
            () = gone.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "the pull was given up").into()),
        };
        status(format!("Digest: {}", pulled.digest));
        let what = if pulled.changed { "Downloaded newer image" } else { "Image is up to date" };
        status(format!("Status: {what} for {name}"));
        events.events.tell(Kind::Image, "pull", &name, [("name".to_owned(), reference.familiar_name())]);
        Ok(())
    })
    .await
}

async fn import(daemon: &Daemon, params: &Params, body: Body) -> Answer {
    let name = params.text("repo").map(|repository| with_tag(repository, params.text("tag")));
    let options = ImportOptions {
        name,
        changes: params.all("changes").map(str::to_owned).collect(),
        message: params.text("message").map(str::to_owned),
        platform: platform(params)?,
    };
    let (engine, reader, events) = (daemon.engine.clone(), BodyReader::new(body), daemon.clone());
    messages::answer(daemon, |messages, _gone| async move {
        let id = task::long("import", move || engine.images().import(reader, &options)).await?;
        messages.send(&Message::status(id.to_string()));
        events.events.tell(Kind::Image, "import", id.as_str(), []);
        Ok(())
    })
    .await
}

/// What the registry of an image has under its name.
pub(super) async fn distribution(daemon: &Daemon, name: &str, headers: &HeaderMap) -> Answer {
    let reference = reference(name)?;
    let engine: Engine = auth::for_registry(&daemon.engine, headers, reference.registry())?;
    let remote = engine.images().remote(&reference).await?;
    ok(&Distribution { descriptor: remote.descriptor, platforms: remote.platforms })
}

fn reference(text: &str) -> Result<Reference, Failure> {
    let parsed = text
        .parse::<Reference>()
        .map_err(|error| Failure::bad_request(format!("invalid reference format: {error}")))?;
    Ok(parsed.with_default_tag())
}
