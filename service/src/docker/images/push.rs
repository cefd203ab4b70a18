//! `POST /images/{name}/push`

use std::sync::Arc;

use axum::http::HeaderMap;
use kiln_engine::oci::Reference;
use kiln_engine::progress::Reporter;
use kiln_engine::{Error, ErrorKind};

use super::{platform, with_tag};
use crate::docker::events::Kind;
use crate::docker::messages::{self, Message, Transfers, Words};
use crate::docker::model::image::Pushed;
use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, Failure, auth, task};

/// `POST /images/{name}/push`
pub(super) async fn push(daemon: &Daemon, name: &str, params: &Params, headers: &HeaderMap) -> Answer {
    let text = with_tag(name, params.text("tag"));
    let reference: Reference =
        text.parse().map_err(|error| Failure::bad_request(format!("invalid reference format: {error}")))?;
    let reference = reference.with_default_tag();
    let engine = auth::for_registry(&daemon.engine, headers, reference.registry())?;
    let (platform, events) = (platform(params)?, daemon.clone());
    messages::answer(daemon, |messages, gone| async move {
        let name = reference.familiar();
        // An image that is not here is told before anything else, so that it is an ordinary failure.
        let (looking, wanted) = (engine.clone(), name.clone());
        let found = task::run(move || looking.images().inspect(&wanted, None)).await;
        let found = found.map_err(|error| {
            Failure::or_missing(error, || {
                format!("An image does not exist locally with the tag: {}", reference.familiar_name())
            })
        })?;
        let target = format!("{}/{}", reference.registry(), reference.repository());
        messages.send(&Message::status(format!("The push refers to repository [{target}]")));
        let reporter: Arc<dyn Reporter> = Arc::new(Transfers::new(messages.clone(), Words::PUSH));
        let images = engine.images();
        let pushed = tokio::select! {
            pushed = images.push(&name, platform.as_deref(), &reporter) => pushed?,
            () = gone.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "the push was given up").into()),
        };
        let tag = reference.tag().unwrap_or_default().to_owned();
        let (digest, size) = (pushed.digest.to_string(), found.root.size);
        messages.send(&Message::status(format!("{tag}: digest: {digest} size: {size}")));
        messages.send(&Message::aux(&Pushed { tag, digest, size }));
        events.events.tell(Kind::Image, "push", &name, [("name".to_owned(), reference.familiar_name())]);
        Ok(())
    })
    .await
}
