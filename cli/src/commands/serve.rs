//! `kiln serve`.

mod told;

use std::path::PathBuf;
use std::time::Duration;

use kiln_engine::{Config, Engine, Error, Result};
use kiln_service::buildkit;
use kiln_service::observe::Traces;
use kiln_service::server::{self, Address, Control, Owner, ServeError, ServeOptions, Settings, TlsFiles};

use super::OK;
use crate::app::App;
use crate::args::serve::ServeArgs;
use crate::logs;
use crate::values::{group, time};

/// Threads that answer and plan builds; what waits for a disk or a client is done by others.
const THREADS: usize = 4;
/// Threads for what blocks; they go when they have had nothing to do for a while. Builds and requests have limits of their
/// own, and wait for each other: if they also had to wait for threads, they could do so for ever.
const BLOCKING_THREADS: usize = 4096;
const BLOCKING_IDLE: Duration = Duration::from_secs(5);

const SOCKET: &str = "/run/kiln.sock";

pub(super) fn run(args: ServeArgs, app: &App) -> Result<u8> {
    logs::start(Some(if app.debug() { "debug" } else { "info" }), args.log_format);
    let tls = match (args.tlscacert, args.tlscert, args.tlskey) {
        (Some(ca), Some(cert), Some(key)) => Some(TlsFiles { ca, cert, key }),
        _ => None,
    };
    let gid = args.group.as_deref().map(|text| group::number("--group", text)).transpose()?;
    let options = ServeOptions {
        addresses: addresses(args.addresses, app),
        tls: tls.clone(),
        buildkit: buildkit::Options { environment: super::build::fetching(), ..Default::default() },
        owner: Owner { gid, ..Owner::default() },
        patience: time::length("--shutdown-timeout", &args.shutdown_timeout)?.unwrap_or_default(),
        monitor: args.metrics_addr,
        traces: traces(),
        shared: args.shared,
    };
    let again = app.clone();
    let read = move || Ok(Settings { registries: again.config()?.registries, tls: tls.clone() });
    answer(app.config()?, options, Box::new(read))
}

/// What was asked for, or the usual socket.
fn addresses(asked: Vec<Address>, app: &App) -> Vec<Address> {
    let usual =
        || Address::Unix(app.own().map_or(PathBuf::from(SOCKET), |own| own.runtime.join("kiln.sock")));
    if asked.is_empty() { vec![usual()] } else { asked }
}

/// Where traces are sent, as OpenTelemetry's variables say. A daemon does not stay away for their sake.
pub(super) fn traces() -> Option<Traces> {
    let found = Traces::of(|name| std::env::var(name).ok());
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "no traces are sent");
        None
    })
}

/// Reads again what may be different without a new start.
pub(super) type Read = Box<dyn Fn() -> Result<Settings> + Send + Sync>;

/// Answers clients until a signal ends it.
pub(super) fn answer(config: Config, options: ServeOptions, read: Read) -> Result<u8> {
    // Clients bring their own credentials; those of whoever started us are not for them.
    let engine = Engine::open(config)?;
    if kiln_engine::rootless::is_confined() {
        tracing::warn!(
            "not root of the machine: steps and containers have its network, and no control groups of their own unless these are delegated"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_IDLE)
        .enable_all()
        .thread_name("kiln")
        .build()
        .map_err(|error| Error::internal("start threads", error))?;
    let served = runtime.block_on(async {
        let told = told::listen(!options.patience.is_zero())
            .map_err(|error| Error::internal("listen to signals", error))?;
        let control = Control { stop: told.stop, hurry: told.hurry, reload: told.reload, read };
        server::serve(engine, &options, control).await.map_err(explained)
    });
    // Who follows a log or waits for a container does not keep us.
    runtime.shutdown_background();
    served.map(|()| OK)
}

fn explained(error: ServeError) -> Error {
    let hint = match &error {
        ServeError::Plain(_) => {
            Some("give `--tlscacert`, `--tlscert` and `--tlskey`, or listen on a unix socket")
        }
        ServeError::Taken(_) => Some("stop that one, or `--addr` another socket"),
        ServeError::NothingInherited => Some("a systemd socket unit hands them over"),
        _ => None,
    };
    let message = error.to_string();
    let mut explained = Error::invalid(message).caused_by(error);
    explained.hint = hint.map(str::to_owned);
    explained
}
