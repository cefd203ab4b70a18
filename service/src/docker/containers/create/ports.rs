//! `PortBindings`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kiln_engine::containers::{PortRequest, Protocol};

use crate::docker::Failure;
use crate::docker::model::create::PortBinding;

/// Ports by `port/protocol`, as they are to be published.
pub(super) fn of(bindings: &BTreeMap<String, Option<Vec<PortBinding>>>) -> Result<Vec<PortRequest>, Failure> {
    let mut ports = Vec::new();
    for (key, of_port) in bindings {
        let (container_port, protocol) = port(key)?;
        for binding in of_port.iter().flatten() {
            let wrong = || Failure::bad_request(format!("invalid port binding for `{key}`"));
            let host_ip = match binding.host_ip.as_str() {
                // Every address; kiln publishes on those of IPv4.
                "" | "::" => None,
                text => Some(text.parse::<IpAddr>().map_err(|_| wrong())?),
            };
            let host_port = match binding.host_port.as_str() {
                "" | "0" => None,
                text => Some(text.parse().map_err(|_| wrong())?),
            };
            ports.push(PortRequest { host_ip, host_port, container_port, protocol });
        }
    }
    Ok(ports)
}

fn port(key: &str) -> Result<(u16, Protocol), Failure> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => return Err(Failure::lacking(format!("publishing of ports of `{other}`"))),
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((port, protocol)),
        _ => Err(Failure::bad_request(format!("invalid port specification: \"{key}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_with_their_protocol() {
        let binding = |ip: &str, port: &str| PortBinding { host_ip: ip.into(), host_port: port.into() };
        let bindings = BTreeMap::from([
            ("53/udp".to_owned(), Some(vec![binding("127.0.0.1", "53")])),
            ("80".to_owned(), Some(vec![binding("", ""), binding("0.0.0.0", "8080")])),
            ("90/tcp".to_owned(), None),
        ]);
        let ports = of(&bindings).unwrap();
        assert_eq!(ports.len(), 3);
        assert_eq!(
            (ports[0].container_port, ports[0].protocol, ports[0].host_port),
            (53, Protocol::Udp, Some(53))
        );
        assert_eq!((ports[1].host_ip, ports[1].host_port), (None, None));
        for bad in ["0/tcp", "x/tcp", "70000/tcp", "80/sctp"] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }
}
