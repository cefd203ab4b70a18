//! `kiln port`.

use kiln_engine::containers::PublishedPort;
use kiln_engine::{Error, Result};

use super::OK;
use crate::app::App;
use crate::args::container::PortArgs;
use crate::render::container::protocol;
use crate::terminal;

pub(super) fn run(args: &PortArgs, app: &App) -> Result<u8> {
    let container = app.engine()?.containers().inspect(&args.container)?;
    let Some(wanted) = &args.port else {
        for port in &container.ports {
            terminal::say(&format!("{} -> {}", inner(port), outer(port)))?;
        }
        return Ok(OK);
    };
    let wanted = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
    let found: Vec<&PublishedPort> = container.ports.iter().filter(|port| inner(port) == wanted).collect();
    if found.is_empty() {
        return Err(Error::not_found(format!(
            "no public port `{wanted}` published for `{}`",
            args.container
        )));
    }
    for port in found {
        terminal::say(&outer(port))?;
    }
    Ok(OK)
}

fn inner(port: &PublishedPort) -> String {
    format!("{}/{}", port.container_port, protocol(port.protocol))
}

fn outer(port: &PublishedPort) -> String {
    std::net::SocketAddr::new(port.host_ip, port.host_port).to_string()
}
