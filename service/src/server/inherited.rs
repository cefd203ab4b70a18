//! Sockets that systemd opened before it started us (sd_listen_fds(3)).

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};

use super::{ServeError, listen_error};

/// Sockets that one service can be given.
const MAX_SOCKETS: u32 = 64;

/// A listening socket that we were given.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Takes the sockets over. They can be taken once.
pub(super) fn take() -> Result<Vec<Socket>, ServeError> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_for_us = variable("LISTEN_PID") == Some(std::process::id());
    let count = variable("LISTEN_FDS").filter(|count| is_for_us && (1..=MAX_SOCKETS).contains(count));
    let count = count.ok_or(ServeError::NothingInherited)?;
    let fail =
        |error: &dyn std::fmt::Display| listen_error("fd://", std::io::Error::other(error.to_string()));
    let sockets = kiln_engine::take_inherited(count).map_err(|error| fail(&error.chain()))?;
    sockets.into_iter().map(|socket| of(socket).map_err(|error| fail(&error))).collect()
}

fn of(socket: OwnedFd) -> Result<Socket, String> {
    let fail = |errno: rustix::io::Errno| errno.to_string();
    if !socket_acceptconn(&socket).map_err(fail)? {
        return Err("a descriptor that was handed over is no listening socket".to_owned());
    }
    match socket_domain(&socket).map_err(fail)? {
        AddressFamily::UNIX => Ok(Socket::Unix(UnixListener::from(socket))),
        AddressFamily::INET | AddressFamily::INET6 => Ok(Socket::Tcp(TcpListener::from(socket))),
        _ => Err("a socket that was handed over is neither a unix nor a TCP socket".to_owned()),
    }
}
