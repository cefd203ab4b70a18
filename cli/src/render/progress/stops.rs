//! Whether kiln was stopped (Ctrl-Z) and goes on: others have written to the terminal meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

const SIGCONT: i32 = 18;
/// Who has not asked for so long may have been stopped, and then the signal may still be on its way.
const LONG: Duration = Duration::from_millis(200);
/// How long that takes at most; who is wrong about it draws a line over the shell's.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// Notes when kiln goes on.
#[derive(Debug)]
pub(super) struct Stops {
    goes_on: Arc<AtomicBool>,
    asked: Instant,
}

impl Stops {
    /// Begins to look.
    pub(super) fn watch() -> Stops {
        let goes_on = Arc::new(AtomicBool::new(false));
        let noted = goes_on.clone();
        std::thread::spawn(move || note(&noted));
        Stops { goes_on, asked: Instant::now() }
    }

    /// Whether kiln was stopped since this was last asked. Where it does not `matter`, nobody waits for the answer.
    pub(super) fn were(&mut self, matter: bool) -> bool {
        if matter && self.asked.elapsed() >= LONG {
            std::thread::sleep(ON_ITS_WAY);
        }
        self.asked = Instant::now();
        self.goes_on.swap(false, Ordering::Relaxed)
    }
}

/// Signals as they arrive, on a runtime of this thread alone.
fn note(goes_on: &AtomicBool) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    runtime.block_on(async {
        let Ok(mut continued) = signal(SignalKind::from_raw(SIGCONT)) else { return };
        while continued.recv().await.is_some() {
            goes_on.store(true, Ordering::Relaxed);
        }
    });
}
