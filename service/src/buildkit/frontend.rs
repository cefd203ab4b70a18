//! Frontends: the built-in one for Dockerfiles, from attributes to a graph, and those that are images.

use std::collections::HashMap;
use std::sync::Arc;

use bollard_buildkit_proto::pb;
use kiln_engine::build::{BuildRequest, Context, Source, is_built_in};
use kiln_engine::progress::ProgressSink;
use kiln_engine::{Error, ErrorKind, Result};
use tonic::Status;

use super::attributes::Attributes;
use super::gateway::{Part, Returned, inputs};
use super::solve::Work;
use super::{Server, errors, image_frontend, permitted, questions};

/// The built-in frontend.
const DOCKERFILE: &str = "dockerfile.v0";
/// The one that is an image, and the attributes that name it and what else is said to it.
const GATEWAY: &str = "gateway.v0";
const SOURCE: &str = "source";
const COMMAND: &str = "cmdline";
/// Where a client's own stream is, in the words of a URL.
const SESSION: &str = "http://buildkit-session/";
const SESSION_HOST: &str = "buildkit-session";

/// What a frontend made.
pub(super) enum Made {
    /// A graph of the built-in one.
    Part(Part),
    /// What one that is an image returned.
    Returned(Returned),
}

/// What comes of asking `frontend` for what `attributes` say.
pub(super) async fn run(
    server: &Arc<Server>,
    work: &Arc<Work>,
    frontend: &str,
    attributes: HashMap<String, String>,
    definitions: &HashMap<String, pb::Definition>,
) -> std::result::Result<Made, Status> {
    let told = |error: Error| errors::status(&error);
    permitted::check(&work.permitted, frontend, &attributes).map_err(told)?;
    match frontend {
        DOCKERFILE => dockerfile(server, work, attributes, definitions).await,
        GATEWAY => match attributes.get(SOURCE).cloned() {
            None => Err(told(Error::invalid("no source specified for gateway"))),
            Some(source) if is_built_in(&source) => dockerfile(server, work, attributes, definitions).await,
            Some(source) => {
                let returned = image_frontend::run(server, work, &source, attributes, definitions).await?;
                Ok(Made::Returned(returned))
            }
        },
        other => Err(told(Error::not_implemented(format!("the frontend `{other}`")))),
    }
}

async fn dockerfile(
    server: &Arc<Server>,
    work: &Arc<Work>,
    attributes: HashMap<String, String>,
    definitions: &HashMap<String, pb::Definition>,
) -> std::result::Result<Made, Status> {
    let told = |error: Error| errors::status(&error);
    let parsed = Attributes::parse(&attributes).map_err(told)?;
    let question = parsed.question.clone();
    let mut request = request(work, parsed).await.map_err(told)?;
    // Whoever says a command line has followed the file's choice.
    request.syntax_is_chosen = attributes.contains_key(COMMAND);
    request.outside.inputs = inputs::bring(server, work, &attributes, definitions).await?;
    let sink = work.sink(Vec::new());
    let source = or_cancelled(work, work.engine.read_source(&request, &sink)).await.map_err(told)?;
    if let Some(said) = source.frontend(&request) {
        let image = said.split(' ').next().unwrap_or_default().to_owned();
        let also = [(SOURCE, image.clone()), (COMMAND, said)];
        let also = also.map(|(key, value)| (key.to_owned(), value));
        let attributes = attributes.into_iter().chain(also).collect();
        permitted::check(&work.permitted, GATEWAY, &attributes).map_err(told)?;
        return image_frontend::run(server, work, &image, attributes, definitions).await.map(Made::Returned);
    }
    if let Some(question) = question {
        let answer = questions::answer(&work.engine, &question, &request, source, &sink);
        let answer = or_cancelled(work, answer).await.map_err(told)?;
        return Ok(Made::Returned(Returned::said(answer)));
    }
    let prepared = prepare(work, &request, &source, &sink).await.map_err(told)?;
    Ok(Made::Part(work.part(prepared, sink, attributes)))
}

async fn prepare(
    work: &Work,
    request: &BuildRequest,
    source: &Source,
    sink: &Arc<dyn ProgressSink>,
) -> Result<kiln_engine::build::Prepared> {
    let _turn = work.turn().await?;
    or_cancelled(work, work.engine.prepare_source(request, source, sink)).await
}

async fn or_cancelled<T>(work: &Work, doing: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = doing => done,
        () = work.job.cancel.cancelled() => {
            Err(Error::new(ErrorKind::Cancelled, "the build was cancelled"))
        }
    }
}

async fn request(work: &Work, parsed: Attributes) -> Result<BuildRequest> {
    let Attributes { request, remote, context, dockerfile: (dockerfile, is_said), .. } = parsed;
    let mut request = work.fill(request);
    if let Some(url) = &remote {
        work.check_remote(url).await?;
    }
    request.context = match (work.job.brought(), remote) {
        (Some(brought), _) => Context::Stream(brought),
        (None, None) => Context::Given(context),
        (None, Some(url)) => match url.strip_prefix(SESSION) {
            None => Context::Remote(url),
            Some(path) => {
                let no_session = || Error::invalid("a context from a stream needs a session of the client");
                let offer = work.offer.as_ref().ok_or_else(no_session)?;
                Context::Stream(offer.upload(SESSION_HOST, &format!("/{path}")).await?)
            }
        },
    };
    if is_said || matches!(request.context, Context::Given(_)) {
        request.outside.dockerfile = Some(dockerfile);
    }
    Ok(request)
}
