//! The texts of a container's `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`.

use std::net::{IpAddr, Ipv4Addr};

/// Where systemd-resolved writes the servers behind its own loopback stub.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
const HOST: &str = "/etc/resolv.conf";
/// What a container asks where the host names no server that it could reach; Docker's choice.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
/// The head of every `hosts` file.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The text of the host's `resolv.conf`; systemd-resolved's upstream file where the host only names its stub.
pub fn host_resolv_conf() -> String {
    let text = std::fs::read_to_string(HOST).unwrap_or_default();
    if servers(&text).any(reachable) {
        return text;
    }
    std::fs::read_to_string(UPSTREAM).unwrap_or(text)
}

/// The `resolv.conf` of a container on a bridge, made from the host's text: without servers on the host's loopback
/// and, since the bridge carries IPv4 only, without IPv6 ones.
pub fn resolv_conf(host: &str) -> String {
    let keep = |line: &&str| server(line).is_none_or(reachable);
    let mut text: String = host.lines().filter(keep).flat_map(|line| [line, "\n"]).collect();
    if !servers(&text).any(reachable) {
        text.extend(FALLBACK.map(|server| format!("nameserver {server}\n")));
    }
    text
}

/// A container's `hosts`: itself and `extra` (name, address) lines.
pub fn hosts(hostname: &str, address: Option<Ipv4Addr>, extra: &[(String, String)]) -> String {
    let mut text = LOCALHOST.to_owned();
    for (name, address) in extra {
        text += &format!("{address}\t{name}\n");
    }
    if let Some(address) = address {
        text += &format!("{address}\t{hostname}\n");
    }
    text
}

/// A container's `hostname` file.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

fn servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(server)
}

/// The address of a `nameserver` line; one that cannot be read counts as loopback, so that it is left out.
fn server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver"))
        .then(|| words.next().and_then(|word| word.parse().ok()).unwrap_or(Ipv4Addr::LOCALHOST.into()))
}

fn reachable(server: IpAddr) -> bool {
    matches!(server, IpAddr::V4(address) if !address.is_loopback() && !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_out_of_reach_are_left_out() {
        let host = "# by hand\nsearch example.org\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.2\noptions ndots:2";
        assert_eq!(
            resolv_conf(host),
            "# by hand\nsearch example.org\nnameserver 10.0.0.2\noptions ndots:2\n"
        );
        assert_eq!(resolv_conf("nameserver nonsense\n"), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }

    #[test]
    fn hosts_names_the_container_and_its_friends() {
        let text = hosts("web", Some(Ipv4Addr::new(172, 17, 0, 2)), &[("db".into(), "10.1.1.1".into())]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.1.1.1\tdb\n172.17.0.2\tweb\n"), "{text}");
        assert_eq!(hosts("web", None, &[]), LOCALHOST);
        assert_eq!(hostname("web"), "web\n");
    }
}
