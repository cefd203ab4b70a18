//! `kiln serve`.

use std::path::PathBuf;

use clap::Args;
use kiln_service::server::Address;

const EXAMPLES: &str = "\
Examples:
  kiln serve                                      on /run/kiln.sock
  kiln serve --addr unix:///run/kiln.sock &       and then: DOCKER_HOST=unix:///run/kiln.sock docker ps
  kiln serve --addr fd://                         on the sockets of a systemd unit
  kiln serve --addr tcp://0.0.0.0:2376 --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem";

/// Serves the Docker Engine API and BuildKit's, for `docker`, `buildctl` and every other client of them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Where to listen: `unix://PATH`, `tcp://HOST:PORT` (with TLS alone) or `fd://`; several are served at once
    #[arg(long = "addr", short = 'H', value_name = "ADDRESS", default_value = "unix:///run/kiln.sock")]
    pub(crate) addresses: Vec<Address>,
    /// Let all who get in see the same images, builds and containers; else every user but root has their own, and every
    /// holder of a certificate
    #[arg(long)]
    pub(crate) shared: bool,
    /// The authority that clients of TCP have their certificates from
    #[arg(long, value_name = "FILE", requires_all = ["tlscert", "tlskey"])]
    pub(crate) tlscacert: Option<PathBuf>,
    /// The certificate that clients of TCP are shown
    #[arg(long, value_name = "FILE", requires_all = ["tlscacert", "tlskey"])]
    pub(crate) tlscert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires_all = ["tlscacert", "tlscert"])]
    pub(crate) tlskey: Option<PathBuf>,
}
