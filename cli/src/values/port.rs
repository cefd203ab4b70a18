//! `-p [[IP:]HOST:]CONTAINER[/PROTOCOL]`, with ranges.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use kiln_engine::Result;
use kiln_engine::containers::{PortRequest, Protocol};

use super::wrong;

/// The ports that one `-p` publishes.
pub(crate) fn parse(text: &str) -> Result<Vec<PortRequest>> {
    let fail = |why: &str| wrong("-p", text, why);
    let (body, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((body, "tcp")) => (body, Protocol::Tcp),
        Some((body, "udp")) => (body, Protocol::Udp),
        Some(_) => return fail("a protocol is `tcp` or `udp`"),
    };
    let (host, container) = body.rsplit_once(':').unwrap_or(("", body));
    let (address, host) = split_address(host);
    let host_ip = match address {
        "" => None,
        address => match address.parse::<IpAddr>() {
            Ok(address) => Some(address),
            Err(_) => return fail("what comes before the ports must be an IP address"),
        },
    };
    let Some(containers) = range(container) else {
        return fail("a container port is a number from 1 to 65535");
    };
    let hosts = match host {
        "" => None,
        host => match host_range(host) {
            Some(hosts) => Some(hosts),
            None => return fail("a host port is a number from 0 to 65535"),
        },
    };
    if hosts.as_ref().is_some_and(|hosts| hosts.len() != containers.len()) {
        return fail("the two ranges differ in length");
    }
    let port = |(index, container_port)| PortRequest {
        host_ip,
        host_port: hosts.as_ref().map(|hosts| hosts.start() + index as u16).filter(|port| *port != 0),
        container_port,
        protocol,
    };
    Ok(containers.enumerate().map(port).collect())
}

/// `[::1]:80`, `127.0.0.1:80`, `127.0.0.1:`, `80`, or nothing.
fn split_address(text: &str) -> (&str, &str) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').unwrap_or(rest));
    }
    match text.rsplit_once(':') {
        Some((address, port)) => (address, port),
        None if text.contains('.') => (text, ""),
        None => ("", text),
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    host_range(text).filter(|range| *range.start() > 0)
}

fn host_range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let range = match text.split_once('-') {
        None => number(text)?..=number(text)?,
        Some((first, last)) => number(first)?..=number(last)?,
    };
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (Option<String>, Option<u16>, u16, Protocol) {
        let ports = parse(text).unwrap();
        assert_eq!(ports.len(), 1, "{text}");
        let port = &ports[0];
        (port.host_ip.map(|ip| ip.to_string()), port.host_port, port.container_port, port.protocol)
    }

    #[test]
    fn every_form_of_a_port() {
        let ip = |text: &str| Some(text.to_owned());
        assert_eq!(one("8080:80"), (None, Some(8080), 80, Protocol::Tcp));
        assert_eq!(one("80"), (None, None, 80, Protocol::Tcp));
        assert_eq!(one("53:53/udp"), (None, Some(53), 53, Protocol::Udp));
        assert_eq!(one("127.0.0.1:8080:80"), (ip("127.0.0.1"), Some(8080), 80, Protocol::Tcp));
        assert_eq!(one("127.0.0.1::80"), (ip("127.0.0.1"), None, 80, Protocol::Tcp));
        assert_eq!(one("[::1]:8080:80/tcp"), (ip("::1"), Some(8080), 80, Protocol::Tcp));
        assert_eq!(one("0:80"), (None, None, 80, Protocol::Tcp));
    }

    #[test]
    fn ranges_pair_up() {
        let pairs: Vec<_> = parse("8000-8002:80-82")
            .unwrap()
            .iter()
            .map(|p| (p.host_port.unwrap(), p.container_port))
            .collect();
        assert_eq!(pairs, [(8000, 80), (8001, 81), (8002, 82)]);
    }

    #[test]
    fn mistakes_are_named() {
        let why = |text: &str| parse(text).unwrap_err().message;
        assert_eq!(why("8000-8001:80"), "`-p 8000-8001:80`: the two ranges differ in length");
        assert_eq!(why("80/sctp"), "`-p 80/sctp`: a protocol is `tcp` or `udp`");
        for bad in ["", ":", "0", "65536", "a:80", "80:", "x.y:1:2", "+80", "9-8"] {
            assert!(parse(bad).is_err(), "`{bad}` was accepted");
        }
    }
}
