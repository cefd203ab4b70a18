//! The texts of a container's `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`.

use std::net::Ipv4Addr;

/// A container's `resolv.conf`, made from the host's text: loopback name servers do not exist in it.
pub fn resolv_conf(host: &str) -> String {
    host.to_owned()
}

/// The text of the host's `resolv.conf` to start from (systemd-resolved's upstream file where that is used).
pub fn host_resolv_conf() -> String {
    String::new()
}

/// A container's `hosts`: itself and `extra` (`name`, `address`) lines.
pub fn hosts(_hostname: &str, _address: Option<Ipv4Addr>, _extra: &[(String, String)]) -> String {
    String::new()
}

/// A container's `hostname` file.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}
