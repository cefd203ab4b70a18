//! `kiln network …`.

use kiln_engine::Result;
use kiln_engine::networks::Network;
use serde_json::{Value, json};

use super::OK;
use crate::app::App;
use crate::args::network::Group;
use crate::listing::Listing;

pub(super) fn run(command: Group, app: &App) -> Result<u8> {
    let Group::Ls(args) = command;
    let engine = app.engine()?;
    let short = |id: &str| id.get(..12).filter(|_| !args.output.no_trunc).unwrap_or(id).to_owned();
    let row = |network: &Network| {
        json!({
            "ID": short(&network.id), "Name": network.name, "Driver": network.driver, "Scope": "local",
            "Subnet": network.subnet, "Gateway": network.gateway,
        })
    };
    let rows = engine.networks().list()?.iter().map(row).collect();
    let columns = vec![("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope")];
    Listing { columns, id: "ID", rows }.print(&args.output).map(|()| OK)
}

/// A network as `docker network inspect` shows it.
pub(super) fn value(network: &Network) -> Value {
    let config = match &network.subnet {
        Some(subnet) => json!([{ "Subnet": subnet, "Gateway": network.gateway }]),
        None => json!([]),
    };
    json!({
        "Name": network.name, "Id": network.id, "Scope": "local", "Driver": network.driver,
        "IPAM": { "Driver": "default", "Config": config },
    })
}
