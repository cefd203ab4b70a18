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

/// `[ip:][host:]port[-port][/protocol]` to `port/protocol` each; address and host port are dropped.
pub(crate) fn ports(specs: &[String]) -> Result<Vec<String>, Problem> {
    let mut all = Vec::new();
    for spec in specs {
        let container = spec.rsplit(':').next().unwrap_or_default();
        let (range, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "" => "tcp".to_owned(),
            known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
            other => return Err(Problem::new(format!("invalid proto: `{other}`"))),
        };
        let (first, last) =
            port_range(range).ok_or_else(|| Problem::new(format!("invalid containerPort: `{range}`")))?;
        all.extend((first..=last).map(|port| format!("{port}/{protocol}")));
        if all.len() > MAX_PORTS {
            return Err(Problem::new(format!("EXPOSE names more than {MAX_PORTS} ports")));
        }
    }
    Ok(all)
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_protocols() {
        let read = |text: &str| ports(&[text.to_owned()]);
        assert_eq!(read("80").unwrap(), ["80/tcp"]);
        assert_eq!(read("8000-8002/UDP").unwrap(), ["8000/udp", "8001/udp", "8002/udp"]);
        assert_eq!(read("127.0.0.1:80:8080").unwrap(), ["8080/tcp"]);
        for bad in ["", "x", "70000", "2-1", "80/icmp", "1-2-3", "+1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
