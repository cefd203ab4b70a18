//! Addresses, published ports, and the way out.

use std::net::UdpSocket;
use std::time::Duration;

use crate::harness::{Kiln, free_port, http_get, wait_for};

const PAGE: &str = "mkdir -p /w && echo \"$WORD\" > /w/index.html && exec httpd -f -p 80 -h /w";

fn page(kiln: &Kiln, name: &str, word: &str, publish: &[&str]) {
    let variable = format!("WORD={word}");
    let mut args = vec!["run", "-d", "--name", name, "-e", &variable];
    args.extend(publish);
    args.extend(["busybox", "sh", "-c", PAGE]);
    kiln.ok(&args);
}

#[test]
fn two_containers_serve_the_same_port() {
    let kiln = Kiln::new();
    let (one, two) = (free_port(), free_port());
    page(&kiln, "one", "first", &["-p", &format!("{one}:80")]);
    page(&kiln, "two", "second", &["-p", &format!("127.0.0.1:{two}:80")]);
    for (port, word) in [(one, "first"), (two, "second")] {
        wait_for("an answer", || http_get(&format!("127.0.0.1:{port}")).is_some_and(|a| a.contains(word)));
    }
    let address = kiln.inspect("one", "{{.NetworkSettings.IPAddress}}");
    assert!(http_get(&format!("{address}:80")).unwrap().contains("first"));
    // Containers reach each other by address.
    let seen = kiln.ok(&["exec", "two", "wget", "-q", "-O", "-", &format!("http://{address}/")]);
    assert_eq!(seen, "first");
    kiln.ok(&["rm", "-f", "one", "two"]);
    assert!(http_get(&format!("127.0.0.1:{one}")).is_none());
}

#[test]
fn a_port_in_use_is_named() {
    let kiln = Kiln::new();
    let port = free_port().to_string();
    page(&kiln, "one", "x", &["-p", &format!("{port}:80")]);
    let said = kiln.fails(125, &["run", "-d", "-p", &format!("{port}:80"), "busybox", "true"]);
    assert!(said.contains(&port) && said.contains("in use"), "{said}");
}

#[test]
fn exposed_ports_are_published_together() {
    let kiln = Kiln::new();
    kiln.build_text("exposed", &format!("FROM busybox\nENV WORD=published\nEXPOSE 80\nCMD {PAGE}\n"));
    kiln.ok(&["run", "-d", "--name", "page", "-P", "exposed"]);
    let port = kiln.ok(&["port", "page", "80/tcp"]);
    let port = port.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    wait_for("an answer", || http_get(&format!("127.0.0.1:{port}")).is_some_and(|a| a.contains("published")));
}

#[test]
fn datagrams_are_published_too() {
    let kiln = Kiln::new();
    let port = free_port();
    let server = "use Socket; socket(S, PF_INET, SOCK_DGRAM, 17); bind(S, sockaddr_in(9, INADDR_ANY)); \
        while ($from = recv(S, $_, 99, 0)) { send(S, $_, 0, $from) }";
    let publish = format!("{port}:9/udp");
    kiln.ok(&["run", "-d", "--name", "echo", "-p", &publish, "debian:bookworm", "perl", "-e", server]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    wait_for("an echo", || {
        socket.send_to(b"ping", ("127.0.0.1", port)).unwrap();
        let mut buffer = [0; 16];
        matches!(socket.recv(&mut buffer), Ok(4))
    });
}

/// Its bridge stays in the kernel, with a range that the next root of that path would find taken.
#[test]
fn a_state_root_that_was_removed_takes_no_network_with_it() {
    let kiln = Kiln::new();
    let script = "ping -c 1 -W 5 $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')";
    let ping = ["run", "--rm", "busybox", "sh", "-c", script];
    kiln.ok(&ping);
    // What makes things durable may still be at work in there.
    wait_for("the removal", || std::fs::remove_dir_all(kiln.root()).is_ok());
    kiln.ok(&ping);
}

#[test]
fn host_and_none() {
    let kiln = Kiln::new();
    let interfaces = |network: &str| {
        let listed = kiln.ok(&["run", "--rm", "--network", network, "busybox", "ls", "/sys/class/net"]);
        listed.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(interfaces("none"), ["lo"]);
    assert_eq!(interfaces("bridge"), ["eth0", "lo"]);
    assert!(interfaces("host").len() > 1);
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    let theirs = kiln.ok(&["run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"]);
    assert_eq!(ours.to_str().unwrap(), theirs);
}

#[test]
fn two_roots_do_not_meet() {
    let (left, right) = (Kiln::new(), Kiln::new());
    let (one, two) = (free_port(), free_port());
    page(&left, "same", "left", &["-p", &format!("{one}:80")]);
    page(&right, "same", "right", &["-p", &format!("{two}:80")]);
    let network = |kiln: &Kiln| kiln.inspect("same", "{{.NetworkSettings.Gateway}}");
    assert_ne!(network(&left), network(&right));
    assert_eq!(left.ok(&["ps", "-q"]).lines().count(), 1);
    drop(left);
    wait_for("the other root's page", || {
        http_get(&format!("127.0.0.1:{two}")).is_some_and(|a| a.contains("right"))
    });
}
