//! The signals that a daemon is told things by.

use std::io;

use kiln_engine::CancellationToken;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How the process ends at a signal too many: 128 + SIGINT.
const IMPATIENT: i32 = 130;

/// What signals say.
pub(super) struct Told {
    /// Ctrl-C or SIGTERM.
    pub(super) stop: CancellationToken,
    /// A second one of these; the one after ends the process at once.
    pub(super) hurry: CancellationToken,
    /// SIGHUP; several may be one.
    pub(super) reload: mpsc::Receiver<()>,
}

/// Begins to listen; in a runtime. Where builds have no time to end, there is nothing to hurry, and the second signal is
/// one too many.
pub(super) fn listen(is_patient: bool) -> io::Result<Told> {
    let ends = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let steps = [Some(stop.clone()), is_patient.then(|| hurry.clone())];
    tokio::spawn(end(ends, steps.into_iter().flatten().collect()));
    let (sender, reload) = mpsc::channel(1);
    tokio::spawn(hang_up(signal(SignalKind::hangup())?, sender));
    Ok(Told { stop, hurry, reload })
}

async fn end((mut interrupt, mut terminate): (Signal, Signal), steps: Vec<CancellationToken>) {
    for step in steps.iter().map(Some).chain([None]) {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        match step {
            Some(step) => step.cancel(),
            None => std::process::exit(IMPATIENT),
        }
    }
}

async fn hang_up(mut signal: Signal, told: mpsc::Sender<()>) {
    while signal.recv().await.is_some() {
        // Where one waits to be heard, it is for this one too.
        let _ = told.try_send(());
    }
}
