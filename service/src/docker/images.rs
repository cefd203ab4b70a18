//! Images. Their names have slashes, so the end of a path says what is wanted.

mod archive;
mod inspect;
mod list;
mod pull;
mod push;
mod remove;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Extension, Router};
use kiln_engine::Error;

use super::events::Kind;
use super::params::Params;
use super::version::ApiVersion;
use super::{Answer, Daemon, Failure, json, task};
pub use inspect::with_all_keys;
pub(super) use list::summary;
pub use list::{digests, tags};

/// The first version that does not say a size twice.
const WITHOUT_VIRTUAL_SIZE: ApiVersion = ApiVersion::one(44);

pub(super) fn routes() -> Router<Daemon> {
    Router::new()
        .route("/images/json", get(list::list))
        .route("/images/create", post(pull::create))
        .route("/images/get", get(archive::save_several))
        .route("/images/load", post(archive::load))
        .route("/images/prune", post(remove::prune))
        .route("/images/{*rest}", get(look).post(change).delete(remove::remove))
        .route("/distribution/{*rest}", get(distribution))
}

/// `GET /images/{name}/…`
async fn look(
    State(daemon): State<Daemon>,
    Path(rest): Path<String>,
    Extension(version): Extension<ApiVersion>,
    params: Params,
) -> Answer {
    match rest.rsplit_once('/') {
        Some((name, "json")) => inspect::inspect(&daemon, name, &params, version).await,
        Some((name, "history")) => inspect::history(&daemon, name, &params).await,
        Some((name, "get")) => archive::save(&daemon, vec![name.to_owned()], &params).await,
        Some((_, "attestations")) => Err(Failure::lacking("`attestations` of images in this API")),
        _ => Err(Failure::no_page()),
    }
}

/// `POST /images/{name}/…`
async fn change(
    State(daemon): State<Daemon>,
    Path(rest): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Answer {
    match rest.rsplit_once('/') {
        Some((name, "push")) => push::push(&daemon, name, &params, &headers).await,
        Some((name, "tag")) => tag(&daemon, name, &params).await,
        _ => Err(Failure::no_page()),
    }
}

/// `POST /images/{name}/tag`
async fn tag(daemon: &Daemon, name: &str, params: &Params) -> Answer {
    let target = with_tag(params.text("repo").unwrap_or_default(), params.text("tag"));
    let (engine, source) = (daemon.engine.clone(), name.to_owned());
    let tagged = task::run(move || {
        let images = engine.images();
        let reference = images.tag(&source, &target)?;
        Ok((images.inspect(&source, None)?.summary.id.to_string(), reference))
    });
    let (id, reference) = tagged.await.map_err(|error| missing(error, name))?;
    daemon.events.tell(Kind::Image, "tag", &id, [("name".to_owned(), reference.familiar())]);
    Ok((StatusCode::CREATED, Body::empty()).into_response())
}

/// `GET /distribution/{name}/json`
async fn distribution(State(daemon): State<Daemon>, Path(rest): Path<String>, headers: HeaderMap) -> Answer {
    let Some(name) = rest.strip_suffix("/json") else {
        return Err(Failure::no_page());
    };
    pull::distribution(&daemon, name, &headers).await
}

/// `repository:tag`, or `repository@digest` where the tag is a digest.
fn with_tag(repository: &str, tag: Option<&str>) -> String {
    match tag {
        None => repository.to_owned(),
        Some(digest) if digest.contains(':') => format!("{repository}@{digest}"),
        Some(tag) => format!("{repository}:{tag}"),
    }
}

/// Docker's words for an image that is not here, which clients look for.
fn missing(error: Error, name: &str) -> Failure {
    Failure::or_missing(error, || format!("No such image: {name}"))
}

/// The platform that a query means: text, or the JSON of newer versions.
fn platform(params: &Params) -> Result<Option<String>, Failure> {
    let Some(text) = params.text("platform") else { return Ok(None) };
    if !text.starts_with('{') {
        return Ok(Some(text.to_owned()));
    }
    let platform = params.json::<kiln_engine::oci::Platform>("platform")?;
    Ok(platform.map(|platform| platform.to_string()))
}

/// An empty list is `null` in no answer of ours.
fn ok(value: &impl serde::Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}
