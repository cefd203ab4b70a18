//! Progress of builds and transfers: events come in on many threads, one thread draws.

mod plain;
mod rawjson;
mod screen;
mod steps;
mod transfers;
mod tty;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_engine::progress::{Event, ProgressSink};

pub(crate) use transfers::Transfers;

use crate::args::build::Progress;
use crate::terminal;

/// How often a terminal is redrawn while nothing happens.
const REDRAW: Duration = Duration::from_millis(100);

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
pub(crate) struct BuildProgress {
    sender: Mutex<Option<Sender<Event>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for BuildProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BuildProgress")
    }
}

impl BuildProgress {
    /// Starts to draw as `kind` says.
    pub(crate) fn start(kind: Progress) -> Self {
        let renderer: Box<dyn Renderer> = match kind {
            Progress::Quiet => return BuildProgress { sender: Mutex::new(None), thread: Mutex::new(None) },
            Progress::Rawjson => Box::new(rawjson::RawJson::new(std::io::stderr())),
            Progress::Auto if terminal::stderr_is_terminal() => Box::new(tty::Tty::new()),
            Progress::Tty if terminal::stderr_is_terminal() => Box::new(tty::Tty::new()),
            Progress::Auto | Progress::Tty | Progress::Plain => {
                Box::new(plain::Plain::new(std::io::stderr()))
            }
        };
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || draw(renderer, &receiver));
        BuildProgress { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) }
    }

    /// Draws what is left and waits for it.
    pub(crate) fn finish(&self) {
        drop(take(&self.sender));
        if let Some(thread) = take(&self.thread) {
            let _ = thread.join();
        }
    }
}

impl ProgressSink for BuildProgress {
    fn event(&self, event: Event) {
        if let Ok(sender) = self.sender.lock()
            && let Some(sender) = &*sender
        {
            let _ = sender.send(event);
        }
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
