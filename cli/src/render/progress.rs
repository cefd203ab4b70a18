//! Progress of builds and transfers: events come in on many threads, one thread draws.

mod clean;
mod counted;
mod layout;
mod look;
mod moved;
mod plain;
mod rawjson;
mod screen;
mod speech;
mod steps;
mod stops;
mod tail;
mod transfers;
mod tty;
mod why;
mod width;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use kiln_engine::progress::{Event, EventKind, ProgressSink, Warning};
use kiln_engine::{Error, Result};

pub(crate) use counted::Counted;
pub(crate) use tail::readable;
pub(crate) use transfers::Transfers;
use why::Reasons;

use super::warnings;
use crate::args::build::Progress;
use crate::terminal;

/// How often a terminal is redrawn at most, and how often time goes by for who waits.
const REDRAW: Duration = Duration::from_millis(100);
/// Rows and columns of a terminal that does not tell.
const UNKNOWN: (u16, u16) = (24, 80);
/// Events that wait to be drawn; more of them make the build wait. One has up to 80 KiB of a step's log.
const QUEUE: usize = 256;

/// Shows events on standard error.
trait Renderer: Send {
    /// Takes an event.
    fn event(&mut self, event: Event);
    /// Time went by.
    fn tick(&mut self, _now: SystemTime) {}
    /// Nothing more comes; whether the whole log of what failed was shown.
    fn finish(&mut self) -> bool;
}

/// A thread that draws, and the way to it.
struct Drawing {
    sender: Mutex<Option<SyncSender<Event>>>,
    thread: Mutex<Option<JoinHandle<bool>>>,
}

impl Drawing {
    fn start(renderer: Box<dyn Renderer>) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::spawn(move || draw(renderer, &receiver));
        Drawing { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) }
    }

    fn send(&self, event: Event) {
        let sender = self.sender.lock().ok().and_then(|sender| sender.clone());
        if let Some(sender) = sender {
            send(&sender, event);
        }
    }

    /// Draws what is left and waits for it; what the renderer said at its end.
    fn finish(&self) -> bool {
        drop(take(&self.sender));
        take(&self.thread).is_some_and(|thread| thread.join().unwrap_or(false))
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

fn draw(mut renderer: Box<dyn Renderer>, receiver: &Receiver<Event>) -> bool {
    loop {
        match receiver.recv_timeout(REDRAW) {
            Ok(event) => renderer.event(event),
            Err(RecvTimeoutError::Timeout) => renderer.tick(SystemTime::now()),
            Err(RecvTimeoutError::Disconnected) => return renderer.finish(),
        }
    }
}

/// The progress of a build, drawn until it is finished.
pub(crate) struct BuildProgress {
    drawing: Option<Drawing>,
    /// What was warned of, for the end.
    warnings: Mutex<Vec<Warning>>,
    /// Why steps ran, for the end.
    reasons: Mutex<Reasons>,
    /// Whether warnings are shown with all that is known of them; `None` where they are not shown.
    expanded: Option<bool>,
}

impl std::fmt::Debug for BuildProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BuildProgress")
    }
}

impl BuildProgress {
    /// Starts to draw as `kind` says; `expanded` warnings are shown with their lines. Fails where a terminal is asked
    /// for and there is none.
    pub(crate) fn start(kind: Progress, expanded: bool) -> Result<Self> {
        let drawing = renderer(kind)?.map(Drawing::start);
        let shown = drawing.is_some() && kind != Progress::Rawjson;
        Ok(BuildProgress {
            drawing,
            warnings: Mutex::default(),
            reasons: Mutex::default(),
            expanded: shown.then_some(expanded),
        })
    }

    /// What was warned of so far.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        self.warnings.lock().map(|warnings| warnings.clone()).unwrap_or_default()
    }

    /// Draws what is left, waits for it, and sums up what was warned of; whether the whole log of a failed step was
    /// shown.
    pub(crate) fn finish(&self) -> bool {
        let shown = self.drawing.as_ref().is_some_and(Drawing::finish);
        if let (Some(expanded), Ok(warnings)) = (self.expanded, self.warnings.lock()) {
            let lines = warnings::summary(&warnings, expanded, terminal::stderr_is_coloured());
            let reasons = self.reasons.lock().map(|reasons| reasons.summary()).unwrap_or_default();
            terminal::write_progress(&(lines + &reasons));
        }
        shown
    }
}

/// What draws; nobody where nothing is to be seen.
fn renderer(kind: Progress) -> Result<Option<Box<dyn Renderer>>> {
    let is_terminal = terminal::stderr_is_terminal();
    Ok(Some(match kind {
        Progress::Quiet | Progress::None => return Ok(None),
        Progress::Rawjson => Box::new(rawjson::RawJson::new(std::io::stderr())),
        Progress::Auto | Progress::Tty if is_terminal => Box::new(tty::Tty::new()),
        Progress::Tty => {
            return Err(Error::invalid("`--progress tty` needs a terminal, and standard error is none")
                .with_hint("`auto` takes a terminal where there is one"));
        }
        Progress::Auto | Progress::Plain => {
            Box::new(plain::Plain::new(std::io::stderr(), terminal::stderr_takes_colours()))
        }
    }))
}

impl ProgressSink for BuildProgress {
    fn event(&self, event: Event) {
        if let Ok(mut reasons) = self.reasons.lock() {
            reasons.take(&event);
        }
        if let EventKind::Warning(warning) = &event.kind
            && let Ok(mut warnings) = self.warnings.lock()
        {
            warnings.push(Warning::clone(warning));
        }
        if let Some(drawing) = &self.drawing {
            drawing.send(event);
        }
    }
}
