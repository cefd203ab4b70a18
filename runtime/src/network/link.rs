//! Links, addresses and routes: the requests a bridge network needs, and no more.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use kiln_sys::netlink::Family;

use super::Subnet;
use super::netlink::{CREATE, Client, DUMP, EXCL, Message, find_attribute};

// rtnetlink(7): message types, and the attributes of links, addresses and routes.
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const LOOPBACK_INDEX: u32 = 1;
/// IFALIASZ, with its end.
const MAX_ALIAS: usize = 255;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// What is known of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
}

/// A link with a note of who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) name: String,
    /// What its alias says, as in `ip link show`.
    pub(crate) note: Vec<u8>,
    /// Whether it is a bridge with something on it.
    pub(crate) has_ports: bool,
}

/// A pair of connected Ethernet devices: one end on a bridge, the other in a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_ns: BorrowedFd<'a>,
    pub(crate) peer_mac: [u8; 6],
    pub(crate) mtu: u32,
}

/// Route requests to one network namespace.
#[derive(Debug)]
pub(crate) struct Links(Client);

impl Links {
    /// Talks to the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Links> {
        Ok(Links(Client::open(Family::Route)?))
    }

    /// The link of this name, if there is one.
    pub(crate) fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        let request = Message::new(GETLINK, 0).raw(&link_header(0, 0, 0)).string(IFLA_IFNAME, name);
        match self.0.ask(request) {
            Ok(answers) => Ok(answers.first().and_then(|answer| parse_link(answer))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The links that have a note.
    pub(crate) fn noted(&mut self) -> io::Result<Vec<Noted>> {
        let answers = self.0.ask(Message::new(GETLINK, DUMP).raw(&link_header(0, 0, 0)))?;
        let masters: Vec<&[u8]> =
            answers.iter().filter_map(|answer| attribute(answer, IFLA_MASTER)).collect();
        let noted = |answer: &Vec<u8>| {
            let note = attribute(answer, IFLA_IFALIAS)?.split(|byte| *byte == 0).next()?.to_vec();
            let name = attribute(answer, IFLA_IFNAME)?.split(|byte| *byte == 0).next()?;
            let name = String::from_utf8(name.to_vec()).ok()?;
            Some(Noted { name, note, has_ports: masters.contains(&answer.get(4..8)?) })
        };
        Ok(answers.iter().filter_map(noted).collect())
    }

    /// Makes a bridge, which is down, with a note if the kernel has room for it. Its Ethernet address is fixed, or it would
    /// change with its ports; and so is its MTU, which only a change fixes.
    pub(crate) fn add_bridge(&mut self, name: &str, mtu: u32, mac: [u8; 6], note: &[u8]) -> io::Result<()> {
        let note = if note.len() > MAX_ALIAS { &[] } else { note };
        let request = Message::new(NEWLINK, CREATE | EXCL)
            .raw(&link_header(0, 0, 0))
            .string(IFLA_IFNAME, name)
            .attribute(IFLA_ADDRESS, &mac)
            .nested(IFLA_LINKINFO, |info| info.string(IFLA_INFO_KIND, "bridge"));
        let settle = Message::new(SETLINK, 0)
            .raw(&link_header(0, 0, 0))
            .string(IFLA_IFNAME, name)
            .attribute(IFLA_IFALIAS, note)
            .number(IFLA_MTU, mtu);
        self.0.tell([request, settle])
    }

    /// Makes a pair in one request; the host's end is up, the other still down (the kernel opens no end of a pair
    /// that is not yet whole).
    ///
    /// The container's end is born in its namespace: moving it there later takes tens of milliseconds, since the
    /// kernel waits for every reader of the device.
    pub(crate) fn add_pair(&mut self, pair: &Pair<'_>) -> io::Result<()> {
        let peer = |peer: Message| {
            peer.raw(&link_header(0, 0, 0))
                .string(IFLA_IFNAME, pair.peer_name)
                .attribute(IFLA_ADDRESS, &pair.peer_mac)
                .number(IFLA_MTU, pair.mtu)
                .number(IFLA_NET_NS_FD, pair.peer_ns.as_raw_fd() as u32)
        };
        let request = Message::new(NEWLINK, CREATE | EXCL)
            .raw(&link_header(0, IFF_UP, IFF_UP))
            .string(IFLA_IFNAME, pair.host_name)
            .number(IFLA_MTU, pair.mtu)
            .number(IFLA_MASTER, pair.bridge)
            .nested(IFLA_LINKINFO, |info| {
                info.string(IFLA_INFO_KIND, "veth")
                    .nested(IFLA_INFO_DATA, |data| data.nested(VETH_INFO_PEER, peer))
            });
        self.0.tell([request, hairpin_request(pair.host_name)])
    }

    /// Sets a link up.
    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.0.tell([up_request(index)])
    }

    /// Sets the loopback link up.
    pub(crate) fn set_loopback_up(&mut self) -> io::Result<()> {
        self.set_up(LOOPBACK_INDEX)
    }

    /// Gives a link an address.
    pub(crate) fn add_address(&mut self, index: u32, address: Ipv4Addr, subnet: Subnet) -> io::Result<()> {
        self.0.tell([address_request(index, address, subnet)])
    }

    /// The IPv4 addresses of a link, each with the length of its prefix.
    pub(crate) fn addresses(&mut self, index: u32) -> io::Result<Vec<(Ipv4Addr, u8)>> {
        let answers = self.0.ask(Message::new(GETADDR, DUMP).raw(&address_header(0, 0)))?;
        Ok(answers.iter().filter_map(|answer| parse_address(answer, index)).collect())
    }

    /// Loopback, a link with its address, and the default route of a fresh namespace, in one datagram.
    pub(crate) fn configure(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        subnet: Subnet,
        gateway: Ipv4Addr,
    ) -> io::Result<()> {
        self.0.tell([
            up_request(LOOPBACK_INDEX),
            up_request(index),
            address_request(index, address, subnet),
            default_route_request(index, gateway),
        ])
    }

    /// Removes a link; one that is not there is no error.
    pub(crate) fn delete(&mut self, name: &str) -> io::Result<()> {
        let request = Message::new(DELLINK, 0).raw(&link_header(0, 0, 0)).string(IFLA_IFNAME, name);
        self.0.tell([request]).or_else(|error| if is_absent(&error) { Ok(()) } else { Err(error) })
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(kiln_sys::Errno::NODEV.raw_os_error())
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn attribute(answer: &[u8], kind: u16) -> Option<&[u8]> {
    find_attribute(answer.get(LINK_HEADER..)?, kind)
}

fn parse_link(answer: &[u8]) -> Option<Link> {
    let number =
        |range: std::ops::Range<usize>| Some(u32::from_ne_bytes(answer.get(range)?.try_into().ok()?));
    let mtu = attribute(answer, IFLA_MTU)?;
    Some(Link {
        index: number(4..8)?,
        up: number(8..12)? & IFF_UP != 0,
        mtu: u32::from_ne_bytes(mtu.try_into().ok()?),
    })
}

/// Lets a bridge port send frames back where they came from. A container that calls its own published port needs it
/// on hosts where the bridge itself applies the firewall (the module `br_netfilter`).
fn hairpin_request(port: &str) -> Message {
    Message::new(NEWLINK, 0).raw(&link_header(0, 0, 0)).string(IFLA_IFNAME, port).nested(
        IFLA_LINKINFO,
        |info| {
            info.string(IFLA_INFO_SLAVE_KIND, "bridge")
                .nested(IFLA_INFO_SLAVE_DATA, |data| data.attribute(IFLA_BRPORT_MODE, &[1]))
        },
    )
}

fn up_request(index: u32) -> Message {
    Message::new(SETLINK, 0).raw(&link_header(index, IFF_UP, IFF_UP))
}

/// `struct ifaddrmsg`.
fn address_header(index: u32, prefix: u8) -> [u8; ADDRESS_HEADER] {
    let mut header = [AF_INET, prefix, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

/// What the kernel says of an address, if it is one of that link.
fn parse_address(answer: &[u8], index: u32) -> Option<(Ipv4Addr, u8)> {
    let is_wanted = answer.first() == Some(&AF_INET) && answer.get(4..8)? == index.to_ne_bytes();
    let octets: [u8; 4] = find_attribute(answer.get(ADDRESS_HEADER..)?, IFA_LOCAL)?.try_into().ok()?;
    is_wanted.then_some((octets.into(), answer[1]))
}

/// An address and what follows from it.
fn address_request(index: u32, address: Ipv4Addr, subnet: Subnet) -> Message {
    Message::new(NEWADDR, CREATE | EXCL)
        .raw(&address_header(index, subnet.prefix))
        .attribute(IFA_LOCAL, &address.octets())
        .attribute(IFA_ADDRESS, &address.octets())
        .attribute(IFA_BROADCAST, &subnet.last().octets())
}

/// `struct rtmsg` of a default route: main table, made by an administrator, everywhere, unicast.
fn default_route_request(index: u32, gateway: Ipv4Addr) -> Message {
    const TABLE_MAIN: u8 = 254;
    const PROTOCOL_BOOT: u8 = 3;
    const TYPE_UNICAST: u8 = 1;
    Message::new(NEWROUTE, CREATE | EXCL)
        .raw(&[AF_INET, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, 0, TYPE_UNICAST, 0, 0, 0, 0])
        .number(RTA_OIF, index)
        .attribute(RTA_GATEWAY, &gateway.octets())
}
