//! The Dockerfile frontend: attributes, and where the files that they name come from, to a graph.

use std::collections::{BTreeMap, HashMap};

use kiln_engine::build::{BuildRequest, BuiltBase, Context};
use kiln_engine::{Error, ErrorKind, Result};

use super::attributes::Attributes;
use super::gateway::Part;
use super::solve::{Work, check_frontend};

/// Where a client's own stream is, in the words of a URL.
const SESSION: &str = "http://buildkit-session/";
const SESSION_HOST: &str = "buildkit-session";

/// The graph of what `attributes` ask of `frontend`.
pub(super) async fn prepare(
    work: &Work,
    frontend: &str,
    attributes: HashMap<String, String>,
    inputs: BTreeMap<String, Option<BuiltBase>>,
) -> Result<Part> {
    check_frontend(frontend, &attributes)?;
    let parsed = Attributes::parse(&attributes)?;
    if let Some(question) = &parsed.question {
        return Err(Error::new(ErrorKind::NotImplemented, format!("unsupported request {question}")));
    }
    let mut request = request(work, parsed).await?;
    request.outside.inputs = inputs;
    let sink = work.sink(Vec::new());
    let cancel = work.job.cancel.clone();
    let prepared = tokio::select! {
        prepared = work.engine.prepare(&request, &sink) => prepared?,
        () = cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "the build was cancelled")),
    };
    Ok(work.part(prepared, sink, attributes))
}

async fn request(work: &Work, parsed: Attributes) -> Result<BuildRequest> {
    let Attributes { request, remote, context, dockerfile: (dockerfile, is_said), .. } = parsed;
    let mut request = work.fill(request);
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
