//! Networks. kiln has three; more cannot be made yet.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use kiln_engine::containers::{Container, ListOptions, NetworkMode};
use kiln_engine::networks::Network as Known;

use super::body::Json;
use super::model::Map;
use super::model::network::{Create, Ipam, IpamConfig, Member, Network, Pruned};
use super::params::Params;
use super::{Answer, Daemon, Failure, json, task, time};

pub(super) fn routes() -> Router<Daemon> {
    let lacking = || async { Failure::lacking("containers that change networks") };
    Router::new()
        .route("/networks", get(list))
        .route("/networks/", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/connect", post(lacking))
        .route("/networks/{id}/disconnect", post(lacking))
}

/// `GET /networks`
async fn list(State(daemon): State<Daemon>, params: Params) -> Answer {
    let filters = params.filters(&["name", "id", "driver", "type", "scope", "label", "dangling"])?;
    let dangling = filters.yes_or_no("dangling")?;
    let engine = daemon.engine.clone();
    let networks = task::blocking(move || engine.networks().list()).await?;
    let passes = |network: &&Known| {
        filters.any("name", |name| network.name.contains(name))
            && filters.any("id", |id| network.id.starts_with(id))
            && filters.any("driver", |driver| network.driver == driver)
            && filters.any("type", |kind| kind == "builtin")
            && filters.any("scope", |scope| scope == "local")
            && !filters.has("label")
            // Those that are always there never dangle.
            && dangling != Some(true)
    };
    let all: Vec<Network> = networks.iter().filter(passes).map(|network| answer(network, &[])).collect();
    Ok(json(StatusCode::OK, &all))
}

/// `GET /networks/{id}`
async fn inspect(State(daemon): State<Daemon>, Path(id): Path<String>) -> Answer {
    let network = find(&daemon, &id).await?;
    let engine = daemon.engine.clone();
    let containers = task::blocking(move || engine.containers().list(&ListOptions::default())).await?;
    Ok(json(StatusCode::OK, &answer(&network, &containers)))
}

/// By name, by id, or by the beginning of an id.
async fn find(daemon: &Daemon, id: &str) -> Result<Known, Failure> {
    let engine = daemon.engine.clone();
    let networks = task::blocking(move || engine.networks().list()).await?;
    let mut found = networks.into_iter().filter(|network| network.name == id || network.id.starts_with(id));
    found.next().ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("network {id} not found")))
}

fn answer(network: &Known, containers: &[Container]) -> Network {
    let config = network
        .subnet
        .iter()
        .map(|subnet| IpamConfig { subnet: subnet.clone(), gateway: network.gateway.clone() });
    Network {
        name: network.name.clone(),
        id: network.id.clone(),
        created: time::NEVER,
        scope: "local",
        driver: network.driver.clone(),
        enable_ipv4: true,
        enable_ipv6: false,
        ipam: Ipam { driver: "default", options: None, config: config.collect() },
        internal: false,
        attachable: false,
        ingress: false,
        config_only: false,
        containers: containers
            .iter()
            .filter(|container| is_in(container, network))
            .map(|c| member(c, network))
            .collect::<BTreeMap<_, _>>(),
        options: Map::new(),
        labels: Map::new(),
    }
}

fn is_in(container: &Container, network: &Known) -> bool {
    match container.options.network {
        NetworkMode::Bridge => network.driver == "bridge",
        NetworkMode::Host => network.driver == "host",
        NetworkMode::None => network.driver == "null",
    }
}

fn member(container: &Container, network: &Known) -> (String, Member) {
    let length =
        network.subnet.as_deref().and_then(|subnet| subnet.split_once('/')).map_or("", |(_, length)| length);
    let address = container.address.map(|address| format!("{address}/{length}"));
    let member = Member {
        name: container.name.clone(),
        endpoint_id: String::new(),
        mac_address: String::new(),
        ipv4_address: address.unwrap_or_default(),
        ipv6_address: String::new(),
    };
    (container.id.clone(), member)
}

/// `POST /networks/create`
async fn create(body: Json<Create>) -> Failure {
    match body.required() {
        Ok(asked) => Failure::lacking(format!("networks of one's own (`{}`)", asked.name)),
        Err(failure) => failure,
    }
}

/// `DELETE /networks/{id}`
async fn remove(State(daemon): State<Daemon>, Path(id): Path<String>) -> Result<(), Failure> {
    let network = find(&daemon, &id).await?;
    let message = format!("{} is a pre-defined network and cannot be removed", network.name);
    Err(Failure::new(StatusCode::FORBIDDEN, message))
}

/// `POST /networks/prune`: those that are there are always kept.
async fn prune() -> Answer {
    Ok(json(StatusCode::OK, &Pruned { networks_deleted: Vec::new() }))
}
