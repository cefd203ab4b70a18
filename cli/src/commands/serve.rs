//! `kiln serve`.

use std::time::Duration;

use kiln_engine::{CancellationToken, Engine, Error, Result};
use kiln_service::buildkit;
use kiln_service::server::{self, ServeError, ServeOptions, TlsFiles};

use super::OK;
use super::interruption::Interruption;
use crate::app::App;
use crate::args::serve::ServeArgs;

/// Threads that answer and plan builds; what waits for a disk or a client is done by others.
const THREADS: usize = 4;
/// Threads for what blocks; they go when they have had nothing to do for a while. Builds and requests have limits of their
/// own, and wait for each other: if they also had to wait for threads, they could do so for ever.
const BLOCKING_THREADS: usize = 4096;
const BLOCKING_IDLE: Duration = Duration::from_secs(5);

pub(super) fn run(args: ServeArgs, app: &App) -> Result<u8> {
    let tls = match (args.tlscacert, args.tlscert, args.tlskey) {
        (Some(ca), Some(cert), Some(key)) => Some(TlsFiles { ca, cert, key }),
        _ => None,
    };
    let buildkit = buildkit::Options { environment: super::build::fetching(), ..Default::default() };
    let options = ServeOptions { addresses: args.addresses, tls, buildkit, shared: args.shared };
    // Clients bring their own credentials; those of whoever started us are not for them.
    let engine = Engine::open(app.config()?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_IDLE)
        .enable_all()
        .thread_name("kiln")
        .build()
        .map_err(|error| Error::internal("start threads", error))?;
    let served = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = Interruption::listen().map_err(|error| Error::internal("listen to signals", error))?;
        tokio::spawn(signals.cancel(stop.clone()));
        server::serve(engine, &options, stop).await.map_err(explained)
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
