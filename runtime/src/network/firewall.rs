//! The nftables table of a bridge: NAT, published ports, and what must never pass.
//!
//! The rules are written once, by the `nft` program; ports come and go as elements of two maps, over netlink.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use kiln_sys::netlink::Family;

use super::bridge::BridgeConfig;
use super::netlink::{CREATE, Client, EXCL, Message};
use super::ports::{PortMapping, Protocol};
use super::{Error, Result, Subnet};

/// An empty chain, written in one transaction with the rules: where it is, all of them are. Its number grows with
/// every change to the rules.
const LAYOUT: &str = "layout_1";
/// An empty chain that says that the host's own filter lets the bridge's packets pass.
const BESIDE: &str = "beside_filter";
/// Marks our rules in chains that others own.
const COMMENT: &str = "kiln";

// linux/netfilter/nf_tables.h: message types (with the subsystem) and attributes.
const NFTABLES: u16 = 10 << 8;
const GETCHAIN: u16 = NFTABLES | 4;
const NEWSETELEM: u16 = NFTABLES | 12;
const DELSETELEM: u16 = NFTABLES | 14;
const FAMILY_IPV4: [u8; 4] = [2, 0, 0, 0];
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS_LIST: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;

/// The firewall of one bridge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firewall<'a> {
    table: &'a str,
    bridge: &'a str,
    subnet: Subnet,
}

impl<'a> Firewall<'a> {
    pub(crate) fn of(config: &'a BridgeConfig) -> Firewall<'a> {
        Firewall { table: &config.table, bridge: &config.name, subnet: config.subnet }
    }

    /// Whether all rules are there.
    pub(crate) fn is_complete(&self) -> Result<bool> {
        let mut client = open()?;
        if !has_chain(&mut client, self.table, LAYOUT)? {
            return Ok(false);
        }
        Ok(has_chain(&mut client, self.table, BESIDE)? || host_filter(&mut client)?.is_none())
    }

    /// Writes the rules, in place of older ones.
    pub(crate) fn install(&self) -> Result<()> {
        let mut client = open()?;
        let mut script = String::new();
        if !has_chain(&mut client, self.table, LAYOUT)? {
            script = self.rules();
        }
        if let Some(chain) = host_filter(&mut client)?
            && !has_chain(&mut client, self.table, BESIDE)?
        {
            script += &self.pass_in(chain);
        }
        if script.is_empty() { Ok(()) } else { nft(&["-f", "-"], &script).map(drop) }
    }

    /// Removes the rules; if they are not there, all is well.
    pub(crate) fn remove(&self) -> Result<()> {
        let Firewall { table, .. } = self;
        if let Some(chain) = host_filter(&mut open()?)? {
            let rules = nft(&["-a", "list", "chain", "ip", "filter", chain], "")?;
            for handle in self.own_handles(&rules) {
                nft(&["delete", "rule", "ip", "filter", chain, "handle", handle], "")?;
            }
        }
        nft(&["-f", "-"], &format!("add table ip {table}\ndelete table ip {table}\n")).map(drop)
    }

    /// The handles of our rules in a listing of somebody else's chain.
    fn own_handles<'t>(&self, listing: &'t str) -> Vec<&'t str> {
        let interface = format!("\"{}\"", self.bridge);
        let comment = format!("comment \"{COMMENT}\"");
        let ours = listing.lines().filter(|line| line.contains(&interface) && line.contains(&comment));
        ours.filter_map(|line| line.rsplit_once("# handle ").map(|(_, handle)| handle.trim())).collect()
    }

    /// A host that filters what it forwards (Docker, ufw) would drop the bridge's packets after our chain let them
    /// pass. What others may send to containers is decided in our own chain all the same.
    fn pass_in(&self, chain: &str) -> String {
        let Firewall { table, bridge, .. } = self;
        format!(
            "insert rule ip filter {chain} iifname \"{bridge}\" accept comment \"{COMMENT}\"\n\
             insert rule ip filter {chain} oifname \"{bridge}\" accept comment \"{COMMENT}\"\n\
             add chain ip {table} {BESIDE}\n"
        )
    }

    /// The whole table.
    ///
    /// `guard`: a container must not reach what listens on the host's loopback, nor send with a foreign address
    /// (CVE-2020-8558: `route_localnet`, which ports published on 127.0.0.1 need, would let it).
    /// `prerouting`: a neighbour must not reach a port that is published on 127.0.0.1.
    /// `forward`: from outside only to published ports, and answers.
    /// `postrouting`: the first two lines make answers come back the way they went: from the host's loopback, and
    /// from a container to a published port of itself or a neighbour.
    fn rules(&self) -> String {
        let Firewall { table, bridge, subnet } = self;
        format!(
            r#"add table ip {table}
delete table ip {table}
table ip {table} {{
  map everywhere {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map somewhere {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain {LAYOUT} {{ }}
  chain publish {{
    meta l4proto {{ tcp, udp }} dnat ip to ip daddr . meta l4proto . th dport map @somewhere
    meta l4proto {{ tcp, udp }} dnat ip to meta l4proto . th dport map @everywhere
  }}
  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{bridge}" ip daddr 127.0.0.0/8 drop
    iifname "{bridge}" ip saddr != {subnet} drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 return
    fib daddr type local jump publish
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump publish
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{bridge}" ip saddr 127.0.0.0/8 masquerade
    oifname "{bridge}" ip saddr {subnet} ct status dnat masquerade
    oifname != "{bridge}" ip saddr {subnet} masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" accept
    oifname "{bridge}" ct state established,related accept
    oifname "{bridge}" ct status dnat accept
    oifname "{bridge}" drop
  }}
}}
"#
        )
    }

    /// Adds all ports or none.
    pub(crate) fn publish(&self, ports: &[PortMapping], address: Ipv4Addr) -> Result<()> {
        let Some(last) = ports.last() else { return Ok(()) };
        let messages = ports.iter().map(|port| self.element(port, Some(address))).collect();
        open()?.transact(messages).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::AlreadyExists => Error::PortInUse(last.host_text()),
            _ => Error::kernel("publish a port in table", self.table, cause),
        })
    }

    /// Removes ports, one transaction each: one that is not there must not keep the others.
    pub(crate) fn unpublish(&self, ports: &[PortMapping]) -> Result<()> {
        let mut client = open()?;
        for port in ports {
            match client.transact(vec![self.element(port, None)]) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::kernel("unpublish a port in table", self.table, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The message that adds an element that leads to `target`, or removes it.
    fn element(&self, port: &PortMapping, target: Option<Ipv4Addr>) -> Message {
        let (set, key) = element_key(port);
        let (kind, flags) = if target.is_some() { (NEWSETELEM, CREATE | EXCL) } else { (DELSETELEM, 0) };
        Message::new(kind, flags)
            .raw(&FAMILY_IPV4)
            .string(ELEMENTS_TABLE, self.table)
            .string(ELEMENTS_SET, set)
            .nested(ELEMENTS_LIST, |list| {
                list.nested(LIST_ELEMENT, |element| {
                    let element = element.nested(ELEMENT_KEY, |value| value.attribute(DATA_VALUE, &key));
                    let Some(address) = target else { return element };
                    let data = [address.octets(), port_slot(port.container_port)].concat();
                    element.nested(ELEMENT_DATA, |value| value.attribute(DATA_VALUE, &data))
                })
            })
    }
}

/// The map a port belongs in, and its key: each part fills a slot of four bytes.
fn element_key(port: &PortMapping) -> (&'static str, Vec<u8>) {
    let protocol = match port.protocol {
        Protocol::Tcp => [6, 0, 0, 0],
        Protocol::Udp => [17, 0, 0, 0],
    };
    let place = [protocol, port_slot(port.host_port)].concat();
    if port.host_ip.is_unspecified() {
        ("everywhere", place)
    } else {
        ("somewhere", [&port.host_ip.octets()[..], &place].concat())
    }
}

fn port_slot(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn open() -> Result<Client> {
    Client::open(Family::Netfilter).map_err(|cause| Error::kernel("open", "netfilter socket", cause))
}

/// Whether a chain exists; a netlink question, since a process is a hundred times dearer.
fn has_chain(client: &mut Client, table: &str, chain: &str) -> Result<bool> {
    let question =
        Message::new(GETCHAIN, 0).raw(&FAMILY_IPV4).string(CHAIN_TABLE, table).string(CHAIN_NAME, chain);
    match client.ask(question) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::kernel("look for chain", format!("{table} {chain}"), error)),
    }
}

/// The chain of the host's own filter where exceptions go, if the host filters what it forwards.
fn host_filter(client: &mut Client) -> Result<Option<&'static str>> {
    for chain in ["DOCKER-USER", "FORWARD"] {
        if has_chain(client, "filter", chain)? {
            return Ok(Some(chain));
        }
    }
    Ok(None)
}

/// Runs `nft` and gives what it printed.
fn nft(arguments: &[&str], input: &str) -> Result<String> {
    let failed = |message: String, hint| Error::Firewall { message, hint };
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(
                "the bridge network needs the program `nft`".into(),
                Some("install the package `nftables`"),
            ),
            _ => failed(format!("run `nft`: {error}"), None),
        })?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|error| failed(format!("run `nft`: {error}"), None))?;
    if output.status.success() && !matches!(written, Some(Err(_))) {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("no message");
    Err(failed(
        format!("`nft` failed: {first}"),
        Some("the kernel needs nf_tables with NAT and fib expressions"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firewall() -> Firewall<'static> {
        Firewall { table: "kiln", bridge: "kiln0", subnet: "172.18.0.0/16".parse().unwrap() }
    }

    #[test]
    fn keys_are_slots_of_four_bytes() {
        let mut port = PortMapping {
            host_ip: Ipv4Addr::UNSPECIFIED,
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        assert_eq!(element_key(&port), ("everywhere", vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0]));
        port.host_ip = Ipv4Addr::LOCALHOST;
        port.protocol = Protocol::Udp;
        assert_eq!(element_key(&port), ("somewhere", vec![127, 0, 0, 1, 17, 0, 0, 0, 0x1f, 0x90, 0, 0]));
    }

    #[test]
    fn own_rules_are_found_among_others() {
        let listing = "\t\tiifname \"kiln0\" accept comment \"kiln\" # handle 7\n\
            \t\tiifname \"kiln01\" accept comment \"kiln\" # handle 8\n\
            \t\tiifname \"kiln0\" drop # handle 9\n";
        assert_eq!(firewall().own_handles(listing), ["7"]);
    }
}
