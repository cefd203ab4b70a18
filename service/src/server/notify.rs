//! What the service manager is told (sd_notify(3)), where one listens.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// How the service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Clients are answered.
    Ready,
    /// The configuration is read again.
    Reloading,
    /// It is about to end.
    Stopping,
}

/// Tells it. A manager that does not listen is none of our concern.
pub(super) fn tell(state: &State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(socket.as_encoded_bytes(), &text(*state)) {
        tracing::debug!(%error, "cannot tell the service manager");
    }
}

fn text(state: State) -> String {
    match state {
        State::Ready => "READY=1".to_owned(),
        State::Reloading => {
            let now = clock_gettime(ClockId::Monotonic);
            format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
        }
        State::Stopping => "STOPPING=1".to_owned(),
    }
}

/// `@` stands for the first byte of an abstract name.
fn send(socket: &[u8], text: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_it_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("kiln-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        let sockets =
            [(path.into_os_string().into_encoded_bytes(), by_path), (format!("@{name}").into(), by_name)];
        for (address, socket) in sockets {
            send(&address, &text(State::Reloading)).unwrap();
            let mut heard = [0; 128];
            let count = socket.recv(&mut heard).unwrap();
            let heard = std::str::from_utf8(&heard[..count]).unwrap();
            let time = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(heard);
            assert!(time.parse::<u64>().unwrap() > 0);
        }
    }
}
