//! `kiln serve`.

use std::path::PathBuf;

use clap::Args;
use kiln_service::server::Address;

use crate::logs::Format;

const EXAMPLES: &str = "\
Examples:
  kiln serve                                      on /run/kiln.sock
  kiln serve --addr unix:///run/kiln.sock &       and then: DOCKER_HOST=unix:///run/kiln.sock docker ps
  kiln serve --addr fd://                         on the sockets of a systemd unit
  kiln serve --metrics-addr 127.0.0.1:9090
  kiln serve --group docker --log-format json --shutdown-timeout 5m
  kiln serve --addr tcp://0.0.0.0:2376 --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem";

/// Serves the Docker Engine API and BuildKit's, for `docker`, `buildctl` and every other client of them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Where to listen: `unix://PATH`, `tcp://HOST:PORT` (with TLS alone) or `fd://`; several are served at once
    /// [default: unix:///run/kiln.sock, $XDG_RUNTIME_DIR/kiln.sock for others than root]
    #[arg(long = "addr", short = 'H', value_name = "ADDRESS")]
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
    /// The group that may connect to unix sockets, by name or number
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// How the log on standard error is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: Format,
    /// Where to serve `/metrics` and `/healthz` alone, to everybody who reaches it: `HOST:PORT`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_addr: Option<String>,
    /// How long builds that run may go on when kiln is told to stop, such as `5m`
    #[arg(long, value_name = "TIME", default_value = "0")]
    pub(crate) shutdown_timeout: String,
}
