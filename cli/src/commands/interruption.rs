//! The first Ctrl-C or SIGTERM ends what runs in order; a second one ends kiln at once.

use std::io;

use kiln_engine::CancellationToken;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, noted from the moment they are listened to.
pub(super) struct Interruption {
    interrupt: Signal,
    terminate: Signal,
}

impl Interruption {
    /// Begins to listen; in a runtime.
    pub(super) fn listen() -> io::Result<Interruption> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Interruption { interrupt, terminate })
    }

    /// Cancels at the first signal, and exits at the second.
    pub(super) async fn cancel(mut self, what: CancellationToken) {
        for code in [None, Some(130)] {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            match code {
                None => what.cancel(),
                Some(code) => std::process::exit(code),
            }
        }
    }
}
