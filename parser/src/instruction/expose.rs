//! `EXPOSE port[-port][/protocol] …`.

use super::{Line, Problem};
use crate::words::plain_words;

/// Most ports that one instruction may name.
const MAX_PORTS: usize = 65_536 * 3;

/// Ports that are announced, sorted, not expanded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// In text order.
    pub ports: Vec<String>,
}

pub(super) fn parse(line: &Line<'_>) -> Result<Expose, Problem> {
    let mut ports = plain_words(line.only_argument()?);
    ports.sort();
    Ok(Expose { ports })
}

/// `[ip:][host:]port[-port][/protocol]` to `port/protocol` each; address and host port are checked and dropped.
pub(crate) fn ports(specs: &[String]) -> Result<Vec<String>, Problem> {
    let mut all = Vec::new();
    for spec in specs {
        all.extend(port(spec)?);
        if all.len() > MAX_PORTS {
            return Err(Problem::new(format!("EXPOSE names more than {MAX_PORTS} ports")));
        }
    }
    Ok(all)
}

fn port(spec: &str) -> Result<impl Iterator<Item = String>, Problem> {
    let mut parts = spec.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host = parts.next().filter(|host| !host.is_empty());
    let address = parts.next().filter(|address| !address.is_empty());
    let (range, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => {
            let help = Some("it is one of `tcp`, `udp` and `sctp`".to_owned());
            return Err(Problem { message: format!("`{spec}`: invalid protocol `{other}`"), help });
        }
    };
    if let Some(address) = address.filter(|address| !is_address(address)) {
        return Err(Problem::new(format!("`{spec}`: invalid IP address `{address}`")));
    }
    let ports = port_range(range).ok_or_else(|| Problem {
        message: match spec == range {
            true => format!("invalid port `{range}`"),
            false => format!("`{spec}`: invalid port `{range}`"),
        },
        help: Some(match range.starts_with('#') {
            true => "a comment stands on a line of its own".to_owned(),
            false => "a port is a number up to 65535, a range two of them: `8000-8010`".to_owned(),
        }),
    })?;
    if let Some(host) = host {
        let wrong = || Problem::new(format!("`{spec}`: invalid host port `{host}`"));
        let (first, last) = port_range(host).ok_or_else(wrong)?;
        // A single port may be bound to any of a range.
        if ports.0 != ports.1 && ports.1 - ports.0 != last - first {
            return Err(wrong());
        }
    }
    Ok((ports.0..=ports.1).map(move |port| format!("{port}/{protocol}")))
}

/// An IP address; one of version 6 may be in brackets.
fn is_address(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<std::net::IpAddr>().is_ok()
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_56_ranges_protocols_and_what_is_dropped() {
        let read = |text: &str| ports(&[text.to_owned()]);
        assert_eq!(read("80").unwrap(), ["80/tcp"]);
        assert_eq!(read("080/").unwrap(), ["80/tcp"]);
        assert_eq!(read("8000-8002/UDP").unwrap(), ["8000/udp", "8001/udp", "8002/udp"]);
        for good in ["127.0.0.1:80:8080", "[::1]:80:8080", "::1::8080", ":8080", "80-90:8080"] {
            assert_eq!(read(good).unwrap(), ["8080/tcp"], "{good}");
        }
        for bad in
            ["", "x", "70000", "2-1", "80/icmp", "1-2-3", "1:2-3:4", "x::80", "80-81:90-99", "x:80", "/tcp"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
