//! Where the daemon listens, as people write it: `unix://…`, `tcp://…`, `fd://`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A TCP port, `host:port`, with mutual TLS.
    Tcp(String),
    /// The sockets that systemd opened for us (sd_listen_fds(3)).
    Inherited,
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has no scheme, or one that is not known.
    #[error("`{0}` is not an address to listen on: it begins with `unix://`, `tcp://` or `fd://`")]
    Scheme(String),
    /// The path of a unix socket is not absolute.
    #[error("`{0}`: the path of a unix socket is absolute")]
    Relative(String),
    /// A TCP address has no port.
    #[error("`{0}`: a TCP address is `tcp://HOST:PORT`")]
    Port(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp://{address}"),
            Address::Inherited => f.write_str("fd://"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Address::Unix(path.into())),
            Some(("unix", _)) => Err(AddressError::Relative(text.to_owned())),
            Some(("tcp", rest)) => {
                let port = rest.rsplit_once(':').filter(|(host, _)| !host.is_empty());
                match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
                    Some(_) => Ok(Address::Tcp(rest.to_owned())),
                    None => Err(AddressError::Port(text.to_owned())),
                }
            }
            // Docker's `fd://` may name one socket; all that were handed over are meant here.
            Some(("fd", "")) => Ok(Address::Inherited),
            _ => Err(AddressError::Scheme(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_its_form() {
        let parse = |text: &str| text.parse::<Address>();
        assert_eq!(parse("unix:///run/kiln.sock"), Ok(Address::Unix("/run/kiln.sock".into())));
        assert_eq!(parse("tcp://0.0.0.0:2376"), Ok(Address::Tcp("0.0.0.0:2376".into())));
        assert_eq!(parse("tcp://[::1]:2376"), Ok(Address::Tcp("[::1]:2376".into())));
        assert_eq!(parse("fd://"), Ok(Address::Inherited));
        for bad in [
            "",
            "/run/kiln.sock",
            "unix://kiln.sock",
            "tcp://host",
            "tcp://:1",
            "tcp://h:x",
            "npipe://x",
            "fd://3",
        ] {
            assert!(parse(bad).is_err(), "`{bad}` was accepted");
        }
    }
}
