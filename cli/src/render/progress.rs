//! Progress of builds and transfers: events come in on many threads, one thread draws.

mod plain;
mod rawjson;
mod screen;
mod steps;
mod transfers;
mod tty;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_engine::progress::{Event, EventKind, ProgressSink, Warning};

pub(crate) use transfers::Transfers;

use super::warnings;
use crate::args::build::Progress;
use crate::terminal;

/// How often a terminal is redrawn while nothing happens.
const REDRAW: Duration = Duration::from_millis(100);

/// Events that wait to be drawn; more of them make the build wait. One has up to 80 KiB of a step's log.
const QUEUE: usize = 256;

/// Shows events on standard error.
trait Renderer: Send {
    /// Takes an event.
    fn event(&mut self, event: Event);
    /// Time went by.
    fn tick(&mut self) {}
    /// Nothing more comes.
    fn finish(&mut self) {}
}

/// The progress of a build, drawn until it is finished.
#[derive(Default)]
pub(crate) struct BuildProgress {
    sender: Mutex<Option<SyncSender<Event>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What was warned of, for the end.
    warnings: Mutex<Vec<Warning>>,
    /// Whether warnings are shown with all that is known of them; `None` where they are not shown.
    expanded: Option<bool>,
}

impl std::fmt::Debug for BuildProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BuildProgress")
    }
}

impl BuildProgress {
    /// Starts to draw as `kind` says; `expanded` warnings are shown with their lines.
    pub(crate) fn start(kind: Progress, expanded: bool) -> Self {
        let renderer: Box<dyn Renderer> = match kind {
            Progress::Quiet => return BuildProgress::default(),
            Progress::Rawjson => Box::new(rawjson::RawJson::new(std::io::stderr())),
            Progress::Auto if terminal::stderr_is_terminal() => Box::new(tty::Tty::new()),
            Progress::Tty if terminal::stderr_is_terminal() => Box::new(tty::Tty::new()),
            Progress::Auto | Progress::Tty | Progress::Plain => {
                Box::new(plain::Plain::new(std::io::stderr()))
            }
        };
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::spawn(move || draw(renderer, &receiver));
        BuildProgress {
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            warnings: Mutex::default(),
            expanded: (kind != Progress::Rawjson).then_some(expanded),
        }
    }

    /// What was warned of so far.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        self.warnings.lock().map(|warnings| warnings.clone()).unwrap_or_default()
    }

    /// Draws what is left, waits for it, and sums up what was warned of.
    pub(crate) fn finish(&self) {
        drop(take(&self.sender));
        if let Some(thread) = take(&self.thread) {
            let _ = thread.join();
        }
        if let (Some(expanded), Ok(warnings)) = (self.expanded, self.warnings.lock()) {
            let lines = warnings::summary(&warnings, expanded, terminal::stderr_is_coloured());
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
    }
}

impl ProgressSink for BuildProgress {
    fn event(&self, event: Event) {
        if let EventKind::Warning(warning) = &event.kind
            && let Ok(mut warnings) = self.warnings.lock()
        {
            warnings.push(Warning::clone(warning));
        }
        if let Ok(sender) = self.sender.lock()
            && let Some(sender) = &*sender
        {
            send(sender, event);
        }
    }
}

/// Waits where the queue is full, while the thread's other work, such as the answer to Ctrl-C, goes on elsewhere.
fn send(sender: &SyncSender<Event>, event: Event) {
    if let Err(TrySendError::Full(event)) = sender.try_send(event) {
        let _ = tokio::task::block_in_place(|| sender.send(event));
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().ok().and_then(|mut slot| slot.take())
}

fn draw(mut renderer: Box<dyn Renderer>, receiver: &Receiver<Event>) {
    loop {
        match receiver.recv_timeout(REDRAW) {
            Ok(event) => renderer.event(event),
            Err(RecvTimeoutError::Timeout) => renderer.tick(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    renderer.finish();
}
