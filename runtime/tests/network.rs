//! Bridge networks, tried in a host, a neighbour and containers that are all fresh network namespaces.
#![allow(clippy::print_stderr)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_runtime::network::{Bridge, BridgeConfig, Error, PortMapping, Protocol, Sandbox};
use kiln_sys::namespace::{in_network_namespace, new_network_namespace};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Long enough for a local answer on a busy machine, short enough to wait for one that must not come.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A host with an outside neighbour behind `eth0`, and a bridge.
struct World {
    host: OwnedFd,
    neighbour: OwnedFd,
    config: BridgeConfig,
    _lock: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let host = new_network_namespace().unwrap();
        let neighbour = new_network_namespace().unwrap();
        let lock = tempfile::tempdir().unwrap();
        let config = BridgeConfig {
            name: "kilntest0".into(),
            table: "kilntest".into(),
            subnet: "172.18.0.0/16".parse().unwrap(),
            mtu: None,
            lock: lock.path().join("network.lock"),
        };
        let world = World { host, neighbour, config, _lock: lock };
        world.on_host(|| ip("link add eth0 mtu 1400 type veth peer name side"));
        let neighbour_fd = world.neighbour.as_fd();
        world.on_host(|| {
            // `ip` names a namespace by a process or a file; descriptors are files of this process.
            let file =
                format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&neighbour_fd));
            ip(&format!("link set side netns {file}"));
            ip("link set lo up");
            ip("addr add 10.9.0.1/24 dev eth0");
            ip("link set eth0 up");
            ip("route add default via 10.9.0.2");
        });
        inside(world.neighbour.as_fd(), || {
            ip("link set lo up");
            ip("addr add 10.9.0.2/24 dev side");
            ip("link set side up");
            // A neighbour that knows the way to the containers.
            ip("route add 172.18.0.0/16 via 10.9.0.1");
        });
        world
    }

    fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(self.host.as_fd(), work)
    }

    fn container(&self, last: u8) -> (Sandbox, Ipv4Addr) {
        let address = Ipv4Addr::new(172, 18, 0, last);
        let sandbox = self.on_host(|| {
            let bridge = Bridge::ensure(&self.config).unwrap();
            let mut sandbox = Sandbox::new().unwrap();
            bridge.attach(&mut sandbox, address).unwrap();
            sandbox
        });
        (sandbox, address)
    }

    fn publish(&self, ports: &[PortMapping], address: Ipv4Addr) -> Result<(), Error> {
        self.on_host(|| Bridge::ensure(&self.config).unwrap().publish(ports, address))
    }
}

fn inside<T: Send>(ns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> T {
    in_network_namespace(ns, work).unwrap()
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Serves its own name to whoever connects, as long as the test runs.
fn serve(ns: BorrowedFd<'_>, address: SocketAddrV4, name: &'static str) {
    let listener = inside(ns, || TcpListener::bind(address).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(name.as_bytes());
        }
    });
}

fn ask(ns: BorrowedFd<'_>, address: Ipv4Addr, port: u16) -> Option<String> {
    inside(ns, || {
        let address = SocketAddr::from((address, port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    })
}

fn tcp(host_ip: Ipv4Addr, host_port: u16) -> PortMapping {
    PortMapping { host_ip, host_port, container_port: 80, protocol: Protocol::Tcp }
}

fn port_80(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, 80)
}

#[test]
fn containers_reach_each_other_and_the_outside_but_not_the_reverse() {
    let world = World::new();
    let (one, _) = world.container(2);
    let (two, two_address) = world.container(3);
    serve(two.as_fd(), port_80(two_address), "two");
    serve(world.neighbour.as_fd(), port_80(Ipv4Addr::UNSPECIFIED), "neighbour");
    assert_eq!(ask(one.as_fd(), two_address, 80).as_deref(), Some("two"));
    assert_eq!(ask(one.as_fd(), Ipv4Addr::new(10, 9, 0, 2), 80).as_deref(), Some("neighbour"));
    assert_eq!(ask(world.host.as_fd(), two_address, 80).as_deref(), Some("two"));
    assert_eq!(
        ask(world.neighbour.as_fd(), two_address, 80),
        None,
        "an unpublished port is open to a neighbour"
    );
}

#[test]
fn the_mtu_is_that_of_the_way_out() {
    let world = World::new();
    // A bridge that has lost its last port must not forget it.
    drop(world.container(3));
    std::thread::sleep(PATIENCE);
    let (one, _) = world.container(2);
    let text =
        inside(one.as_fd(), || Command::new("ip").args(["-o", "link", "show", "eth0"]).output().unwrap());
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("mtu 1400"), "{text}");
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    let world = World::new();
    let (one, address) = world.container(2);
    let (two, _) = world.container(3);
    serve(one.as_fd(), port_80(address), "one");
    let everywhere = tcp(Ipv4Addr::UNSPECIFIED, 8080);
    world.publish(&[everywhere], address).unwrap();
    let gateway = world.config.subnet.gateway();
    for (who, from, to) in [
        ("host", world.host.as_fd(), Ipv4Addr::LOCALHOST),
        ("host", world.host.as_fd(), HOST),
        ("neighbour", world.neighbour.as_fd(), HOST),
        ("two", two.as_fd(), gateway),
        ("two", two.as_fd(), HOST),
        ("one itself", one.as_fd(), HOST),
    ] {
        assert_eq!(ask(from, to, 8080).as_deref(), Some("one"), "{who} to {to}");
    }
    let again = world.publish(&[tcp(Ipv4Addr::UNSPECIFIED, 8081), everywhere], Ipv4Addr::new(172, 18, 0, 3));
    assert!(matches!(again, Err(Error::PortInUse(_))), "{again:?}");
    assert_eq!(ask(world.host.as_fd(), HOST, 8081), None, "half of a refused request stayed");
    world.on_host(|| {
        let bridge = Bridge::ensure(&world.config).unwrap();
        bridge.unpublish(&[tcp(Ipv4Addr::UNSPECIFIED, 9999), everywhere]).unwrap();
    });
    assert_eq!(ask(world.host.as_fd(), HOST, 8080), None);
}

#[test]
fn a_port_on_loopback_stays_there() {
    let world = World::new();
    let (one, address) = world.container(2);
    serve(one.as_fd(), port_80(address), "one");
    world.publish(&[tcp(Ipv4Addr::LOCALHOST, 8080)], address).unwrap();
    assert_eq!(ask(world.host.as_fd(), Ipv4Addr::LOCALHOST, 8080).as_deref(), Some("one"));
    assert_eq!(ask(world.host.as_fd(), HOST, 8080), None);
    assert_eq!(ask(world.neighbour.as_fd(), HOST, 8080), None);
    send_loopback_packets_to(world.neighbour.as_fd(), "side", HOST);
    assert_eq!(ask(world.neighbour.as_fd(), Ipv4Addr::LOCALHOST, 8080), None);
}

#[test]
fn a_container_does_not_reach_the_hosts_loopback() {
    let world = World::new();
    let (one, _) = world.container(2);
    serve(world.host.as_fd(), port_80(Ipv4Addr::LOCALHOST), "host");
    assert_eq!(ask(world.host.as_fd(), Ipv4Addr::LOCALHOST, 80).as_deref(), Some("host"));
    send_loopback_packets_to(one.as_fd(), "eth0", world.config.subnet.gateway());
    assert_eq!(ask(one.as_fd(), Ipv4Addr::LOCALHOST, 80), None);
}

/// What an attacker with full power over his own namespace does: 127.0.0.1 is now behind `router`.
fn send_loopback_packets_to(ns: BorrowedFd<'_>, interface: &str, router: Ipv4Addr) {
    inside(ns, || {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet"), "1").unwrap();
        ip("addr del 127.0.0.1/8 dev lo");
        ip(&format!("route add 127.0.0.1/32 via {router} dev {interface}"));
    });
}

#[test]
fn a_host_that_filters_what_it_forwards_lets_containers_pass() {
    let world = World::new();
    world.on_host(|| {
        let rules = "add table ip filter; add chain ip filter FORWARD \
                     { type filter hook forward priority 0; policy drop; }";
        assert!(Command::new("nft").arg(rules).status().unwrap().success());
    });
    let (one, address) = world.container(2);
    serve(one.as_fd(), port_80(address), "one");
    serve(world.neighbour.as_fd(), port_80(Ipv4Addr::UNSPECIFIED), "neighbour");
    world.publish(&[tcp(Ipv4Addr::UNSPECIFIED, 8080)], address).unwrap();
    assert_eq!(ask(one.as_fd(), Ipv4Addr::new(10, 9, 0, 2), 80).as_deref(), Some("neighbour"));
    assert_eq!(ask(world.neighbour.as_fd(), HOST, 8080).as_deref(), Some("one"));
    assert_eq!(ask(world.neighbour.as_fd(), address, 80), None);
    let listing = world.on_host(|| {
        Bridge::remove(&world.config).unwrap();
        Bridge::remove(&world.config).unwrap();
        Command::new("nft").args(["list", "ruleset"]).output().unwrap().stdout
    });
    assert!(!String::from_utf8_lossy(&listing).contains("kiln"));
}

#[test]
fn bridges_of_state_roots_that_are_gone_are_removed_when_asked_for_and_no_others() {
    let world = World::new();
    let gone = tempfile::tempdir().unwrap();
    let bridge = |name: &str, third: u8, lock: &std::path::Path| BridgeConfig {
        name: name.into(),
        table: name.into(),
        subnet: format!("192.168.{third}.0/24").parse().unwrap(),
        mtu: None,
        lock: lock.join("network.lock"),
    };
    let here = tempfile::tempdir().unwrap();
    let (left, used, kept) =
        (bridge("left", 1, gone.path()), bridge("used", 2, gone.path()), bridge("kept", 3, here.path()));
    let sandbox = world.on_host(|| {
        let [_, used, _] = [&left, &used, &kept].map(|config| Bridge::ensure(config).unwrap());
        let mut sandbox = Sandbox::new().unwrap();
        used.attach(&mut sandbox, Ipv4Addr::new(192, 168, 2, 2)).unwrap();
        sandbox
    });
    gone.close().unwrap();
    let is_there = |name: &str| world.on_host(|| Command::new("ip").args(["link", "show", name]).output());
    assert_eq!(world.on_host(|| Bridge::remove_abandoned().unwrap()), 1);
    assert_eq!(
        ["left", "used", "kept"].map(|name| is_there(name).unwrap().status.success()),
        [false, true, true]
    );
    let rules = world.on_host(|| Command::new("nft").args(["list", "tables"]).output().unwrap().stdout);
    assert!(!String::from_utf8_lossy(&rules).contains("left"));
    drop(sandbox);
}

/// A state root that was removed leaves its bridge, its rules and its published ports in the kernel.
#[test]
fn a_bridge_with_other_addresses_is_replaced() {
    let world = World::new();
    let stale = BridgeConfig { subnet: "172.19.0.0/16".parse().unwrap(), ..world.config.clone() };
    let port = [tcp(Ipv4Addr::UNSPECIFIED, 8080)];
    let lost = Ipv4Addr::new(172, 19, 0, 2);
    world.on_host(|| Bridge::ensure(&stale).unwrap().publish(&port, lost).unwrap());
    let (one, address) = world.container(2);
    serve(world.neighbour.as_fd(), port_80(Ipv4Addr::UNSPECIFIED), "neighbour");
    serve(one.as_fd(), port_80(address), "one");
    world.publish(&port, address).unwrap();
    // The second time it stays, or the container would have lost its network.
    for _ in 0..2 {
        assert_eq!(ask(one.as_fd(), Ipv4Addr::new(10, 9, 0, 2), 80).as_deref(), Some("neighbour"));
        assert_eq!(ask(world.neighbour.as_fd(), HOST, 8080).as_deref(), Some("one"));
        world.on_host(|| {
            ip("addr replace 192.0.2.1/24 dev kilntest0");
            Bridge::ensure(&world.config).unwrap()
        });
    }
}

#[test]
fn attaching_is_quick() {
    let world = World::new();
    let times: Vec<[Duration; 3]> = (2..42)
        .map(|last| {
            world.on_host(|| {
                let start = Instant::now();
                let bridge = Bridge::ensure(&world.config).unwrap();
                let ensured = start.elapsed();
                let mut sandbox = Sandbox::new().unwrap();
                let made = start.elapsed();
                bridge.attach(&mut sandbox, Ipv4Addr::new(172, 18, 0, last)).unwrap();
                [ensured, made - ensured, start.elapsed() - made]
            })
        })
        .collect();
    let median = |part: usize| {
        let mut column: Vec<Duration> = times.iter().map(|row| row[part]).collect();
        column.sort();
        column[column.len() / 2]
    };
    eprintln!("ensure {:?}, namespace {:?}, attach {:?}", median(0), median(1), median(2));
    assert!(median(1) + median(2) < Duration::from_millis(20), "attaching takes too long");
}
