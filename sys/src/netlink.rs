//! Netlink sockets: raw bytes to and from the kernel, of the calling thread's network namespace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// Longest datagram that is read; the kernel fills at most 32 KiB at once.
const RECEIVE_BYTES: usize = 32 << 10;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses and routes.
    Route,
    /// Netfilter, nftables among it.
    Netfilter,
}

/// A netlink socket. It stays in the namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(family: Family) -> io::Result<Socket> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        Ok(Socket { fd, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Sends one datagram, which may hold several messages.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, bytes, SendFlags::empty()))?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Receives one datagram.
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        let Socket { fd, buffer } = self;
        let (length, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(fd.as_fd(), buffer.as_mut_slice(), RecvFlags::empty())
        })?;
        Ok(&self.buffer[..length])
    }
}
