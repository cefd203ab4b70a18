//! `kiln buildkitd`: the options of BuildKit's daemon.

use std::path::PathBuf;

use clap::Args;
use kiln_service::server::Address;

const EXAMPLES: &str = "\
Examples:
  kiln buildkitd                                  on /run/buildkit/buildkitd.sock
  kiln buildkitd --config /etc/buildkit/buildkitd.toml --allow-insecure-entitlement network.host
  ln -s kiln /usr/local/bin/buildkitd             and then: buildkitd --debug
  kiln buildkitd --addr tcp://0.0.0.0:1234 --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem";

/// Serves the BuildKit API as BuildKit's `buildkitd` does: its options, its configuration file, its socket.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_version_flag = true)]
pub(crate) struct BuildkitdArgs {
    /// Where to listen: `unix://PATH`, `tcp://HOST:PORT` (with TLS alone) or `fd://`; can be repeated
    /// [default: unix:///run/buildkit/buildkitd.sock]
    #[arg(long = "addr", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<Address>,
    /// The group that unix sockets belong to, by name or number
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// The authority that clients of TCP have their certificates from
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscacert: Option<PathBuf>,
    /// The certificate that clients of TCP are shown
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE")]
    pub(crate) tlskey: Option<PathBuf>,
    /// Lets clients grant their builds `network.host`, `security.insecure` or `device`; can be repeated
    #[arg(long = "allow-insecure-entitlement", value_name = "NAME")]
    pub(crate) entitlements: Vec<String>,
    /// How the log is written, `text` or `json`
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace` [env: BUILDKITD_LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Log everything
    #[arg(long, hide = true)]
    pub(crate) trace: bool,
    /// Give steps no devices
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub(crate) cdi_disabled: Option<bool>,
    /// Where specs of devices are; can be repeated
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    /// Whether there is a worker: `true` or `auto`
    #[arg(long, value_name = "BOOL")]
    pub(crate) oci_worker: Option<String>,
    /// A label of the worker, `KEY=VALUE`; can be repeated
    #[arg(long = "oci-worker-labels", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
    /// A platform that the worker is said to build for; can be repeated
    #[arg(long = "oci-worker-platform", value_name = "PLATFORM")]
    pub(crate) platforms: Vec<String>,
    /// How many steps of a build run at once
    #[arg(long = "oci-max-parallelism", value_name = "NUMBER")]
    pub(crate) max_parallelism: Option<usize>,
    /// Whether the build cache is kept small; it is unless `false`
    #[arg(long = "oci-worker-gc", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub(crate) gc: Option<bool>,
    /// Let steps see the processes of the daemon's machine or pod, where its `/proc` may not be mounted anew; not as root
    #[arg(long = "oci-worker-no-process-sandbox", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub(crate) no_process_sandbox: Option<bool>,
    /// How small, in MB: what stays in any case, what shall be free of the disk, what it takes at most
    #[arg(long = "oci-worker-gc-keepstorage", value_name = "RESERVED[,FREE[,MAXIMUM]]")]
    pub(crate) keep_storage: Option<String>,
    /// Where to serve `/metrics` and `/healthz` alone, to everybody who reaches it: `HOST:PORT` [env: BUILDKITD_DEBUGADDR]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) debugaddr: Option<String>,
    /// How long builds that run may go on when it is told to stop
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) shutdown_timeout: String,
    /// Print the version
    #[arg(short, long)]
    pub(crate) version: bool,
    #[command(flatten)]
    pub(crate) refused: Refused,
    #[command(flatten)]
    pub(crate) ignored: Ignored,
}

/// Options of BuildKit's daemon whose effect somebody would rely on, and which kiln does not have.
#[derive(Debug, Args)]
pub(crate) struct Refused {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(crate) rootless: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(crate) oci_worker_rootless: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(crate) oci_worker_selinux: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(crate) proxy_network: Option<bool>,
    #[arg(long, hide = true)]
    pub(crate) oci_worker_apparmor_profile: Option<String>,
}

/// Options of BuildKit's daemon that change nothing here; what is given is told.
#[derive(Debug, Args)]
pub(crate) struct Ignored {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) save_cache_debug: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) oci_worker_snapshotter: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) oci_worker_proxy_snapshotter_path: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) oci_worker_net: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) oci_cni_config_path: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) oci_cni_binary_dir: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) oci_cni_pool_size: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) oci_worker_binary: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) otel_socket_path: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) containerd_worker: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) containerd_worker_addr: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) containerd_worker_labels: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) containerd_worker_platform: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) containerd_worker_namespace: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) containerd_worker_net: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) containerd_worker_snapshotter: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) containerd_worker_gc: Option<String>,
}

fn boolean(text: &str) -> Result<bool, String> {
    kiln_engine::boolean::parse(text).ok_or_else(|| "it is `true` or `false`".to_owned())
}
