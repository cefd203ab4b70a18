//! Containers: made, started, watched, ended.

mod archive;
mod attach;
mod create;
mod inspect;
mod lifecycle;
pub(super) mod list;
mod logs;
mod look;
mod remove;
pub(super) mod runs;
mod wait;

use axum::Router;
use axum::routing::{delete, get, post};
use kiln_engine::Error;
use kiln_engine::containers::{Container, NetworkMode, Protocol};

use super::events::Kind;
use super::{Daemon, Failure, exec, task};
pub(super) use attach::size;
pub(super) use create::extra_host;
pub(super) use lifecycle::not_started as exec_failed;

pub(super) fn routes() -> Router<Daemon> {
    Router::new()
        .route("/containers/create", post(create::create))
        .route("/containers/json", get(list::list))
        .route("/containers/prune", post(remove::prune))
        .route("/containers/{id}", delete(remove::remove))
        .route("/containers/{id}/json", get(inspect::inspect))
        .route("/containers/{id}/archive", get(archive::get).put(archive::put))
        .route("/containers/{id}/top", get(look::top))
        .route("/containers/{id}/logs", get(logs::logs))
        .route("/containers/{id}/start", post(lifecycle::start))
        .route("/containers/{id}/stop", post(lifecycle::stop))
        .route("/containers/{id}/restart", post(lifecycle::restart))
        .route("/containers/{id}/kill", post(lifecycle::kill))
        .route("/containers/{id}/pause", post(lifecycle::pause))
        .route("/containers/{id}/unpause", post(lifecycle::unpause))
        .route("/containers/{id}/rename", post(lifecycle::rename))
        .route("/containers/{id}/resize", post(attach::resize))
        .route("/containers/{id}/wait", post(wait::wait))
        .route("/containers/{id}/attach", post(attach::attach))
        .route("/containers/{id}/exec", post(exec::create))
}

/// The container that a path means.
pub(super) async fn find(daemon: &Daemon, name: &str) -> Result<Container, Failure> {
    let (engine, wanted) = (daemon.engine.clone(), name.to_owned());
    let found = task::run(move || engine.containers().inspect(&wanted)).await;
    found.map_err(|error| missing(error, name))
}

/// Docker's words for a container that is not here, which clients look for.
pub(super) fn missing(error: Error, name: &str) -> Failure {
    Failure::or_missing(error, || format!("No such container: {name}"))
}

/// Tells listeners what happened to a container.
pub(super) fn tell(
    daemon: &Daemon,
    action: &str,
    container: &Container,
    more: impl IntoIterator<Item = (String, String)>,
) {
    let own = [("name", &container.name), ("image", &container.options.image)];
    let own = own.map(|(name, value)| (name.to_owned(), value.clone()));
    let attributes = container.options.labels.iter().cloned().chain(own).chain(more);
    daemon.events.tell(Kind::Container, action, &container.id, attributes);
}

/// Docker's word for a network.
fn network(network: &NetworkMode) -> &'static str {
    match network {
        NetworkMode::Bridge => "bridge",
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
    }
}

/// `80/tcp`
fn port(number: u16, protocol: Protocol) -> String {
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{number}/{protocol}")
}
