//! Published ports: what leads where, and the reservation that keeps others off a host port.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use super::{Error, Result};

/// A transport protocol whose ports can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// One published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The host's address; `0.0.0.0` is every one.
    pub host_ip: Ipv4Addr,
    /// The host's port; 0 before a reservation chose one.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl PortMapping {
    /// The host's side as people write it: `0.0.0.0:8080/tcp`.
    pub(crate) fn host_text(&self) -> String {
        format!("{}:{}/{}", self.host_ip, self.host_port, self.protocol)
    }
}

/// A bound socket. Nobody accepts from it: the firewall leads packets past it, and it only keeps others off the port.
#[derive(Debug)]
#[expect(dead_code, reason = "held for its descriptor")]
enum Held {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Host ports that are bound, so that no other process can take them while the container has them.
#[derive(Debug)]
pub struct Reservation {
    ports: Vec<PortMapping>,
    _held: Vec<Held>,
}

impl Reservation {
    /// Binds each host port; a host port of 0 becomes a free one.
    pub fn take(ports: &[PortMapping]) -> Result<Reservation> {
        let bound: Vec<_> = ports.iter().map(bind).collect::<Result<_>>()?;
        let (ports, held) = bound.into_iter().unzip();
        Ok(Reservation { ports, _held: held })
    }

    /// The mappings with their final host ports.
    pub fn ports(&self) -> &[PortMapping] {
        &self.ports
    }
}

fn bind(mapping: &PortMapping) -> Result<(PortMapping, Held)> {
    let address = SocketAddrV4::new(mapping.host_ip, mapping.host_port);
    let bound = match mapping.protocol {
        Protocol::Tcp => {
            TcpListener::bind(address).and_then(|socket| Ok((socket.local_addr()?, Held::Tcp(socket))))
        }
        Protocol::Udp => {
            UdpSocket::bind(address).and_then(|socket| Ok((socket.local_addr()?, Held::Udp(socket))))
        }
    };
    let (actual, held) = bound.map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => Error::PortInUse(mapping.host_text()),
        _ => Error::kernel("bind", mapping.host_text(), cause),
    })?;
    Ok((PortMapping { host_port: actual.port(), ..*mapping }, held))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host_port: u16) -> PortMapping {
        PortMapping { host_ip: Ipv4Addr::UNSPECIFIED, host_port, container_port: 80, protocol: Protocol::Tcp }
    }

    #[test]
    fn a_free_port_is_chosen_and_then_taken() {
        let udp = PortMapping { protocol: Protocol::Udp, ..tcp(0) };
        let first = Reservation::take(&[tcp(0), udp]).unwrap();
        let chosen = first.ports()[0];
        assert!(chosen.host_port != 0 && first.ports()[1].host_port != 0);
        let error = Reservation::take(&[chosen]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("port `0.0.0.0:{}/tcp` is already in use on this host", chosen.host_port)
        );
        drop(first);
        Reservation::take(&[chosen]).unwrap();
    }

    #[test]
    fn a_listening_process_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(matches!(Reservation::take(&[tcp(port)]), Err(Error::PortInUse(_))));
    }

    #[test]
    fn an_address_of_another_host_is_named() {
        let foreign = PortMapping { host_ip: Ipv4Addr::new(203, 0, 113, 9), ..tcp(0) };
        let error = Reservation::take(&[foreign]).unwrap_err();
        assert!(error.to_string().starts_with("bind `203.0.113.9:0/tcp`"), "{error}");
    }
}
