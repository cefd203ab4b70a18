//! A build's events as the classic builder's messages: `Step 1/3 : …`, output, ` ---> Using cache`.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use kiln_engine::progress::{Event, EventKind, ProgressSink, Reporter as _, StepId};
use kiln_engine::{Error, Result};

use crate::docker::messages::{Message, Messages, Transfers, Words};

/// Events that wait to be told; more of them make the build wait.
const QUEUE: usize = 256;

/// Tells a client of a build, on a thread of its own.
#[derive(Debug)]
pub(super) struct Progress {
    sender: Mutex<Option<SyncSender<Event>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Progress {
    /// Begins. `quiet`: nothing is told.
    pub(super) fn start(messages: Messages, quiet: bool) -> Result<Progress> {
        if quiet {
            return Ok(Progress { sender: Mutex::new(None), thread: Mutex::new(None) });
        }
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("progress".to_owned());
        let thread = thread.spawn(move || tell(messages, &receiver));
        let thread = thread.map_err(|error| Error::internal("start a thread", error))?;
        Ok(Progress { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Tells what is left. What comes later is not told.
    pub(super) fn finish(&self) {
        drop(take(&self.sender));
        if let Some(thread) = take(&self.thread) {
            let _ = tokio::task::block_in_place(|| thread.join());
        }
    }
}

impl ProgressSink for Progress {
    fn event(&self, event: Event) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sender) = sender else { return };
        if let Err(TrySendError::Full(event)) = sender.try_send(event) {
            let _ = tokio::task::block_in_place(|| sender.send(event));
        }
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn tell(messages: Messages, receiver: &Receiver<Event>) {
    let transfers = Transfers::new(messages.clone(), Words::PULL);
    let mut lines = Lines::default();
    while let Ok(event) = receiver.recv() {
        if let EventKind::Transfer(_) = event.kind {
            transfers.report(event.kind);
            continue;
        }
        let text = lines.of(event);
        if !text.is_empty() {
            messages.send(&Message::stream(text));
        }
    }
}

/// What is told of events.
#[derive(Debug, Default)]
struct Lines {
    steps: HashMap<StepId, Step>,
    /// Whose output was told last.
    last: Option<StepId>,
}

#[derive(Debug)]
struct Step {
    /// `Step 1/3 : RUN make`; nothing for what is no instruction.
    headline: Option<String>,
    announced: bool,
}

impl Lines {
    /// The text about an event; often none.
    fn of(&mut self, event: Event) -> String {
        let id = event.step;
        match event.kind {
            EventKind::Registered { name, .. } => {
                self.steps.insert(id, Step { headline: headline(&name), announced: false });
                String::new()
            }
            EventKind::Started => self.announce(id),
            EventKind::Cached => match self.announce(id) {
                text if text.is_empty() => text,
                text => text + " ---> Using cache\n",
            },
            EventKind::Log { bytes, .. } => self.announce(id) + &String::from_utf8_lossy(&bytes),
            EventKind::Warning(warning) => format!("[Warning] {}\n", warning.short),
            _ => String::new(),
        }
    }

    /// A step's headline, where it has one: at first, and again where another step has spoken since.
    fn announce(&mut self, id: StepId) -> String {
        let Some(step) = self.steps.get_mut(&id) else { return String::new() };
        let Some(headline) = &step.headline else { return String::new() };
        let text = match (step.announced, self.last == Some(id)) {
            (false, _) => format!("{headline}\n"),
            (true, false) => format!(" ---> {headline}\n"),
            (true, true) => String::new(),
        };
        step.announced = true;
        self.last = Some(id);
        text
    }
}

/// `[build 2/3] RUN make` as `Step 2/3 : RUN make (build)`.
fn headline(name: &str) -> Option<String> {
    let (place, rest) = name.strip_prefix('[')?.split_once("] ")?;
    let (stage, count) = place.rsplit_once(' ').unwrap_or(("", place));
    let (done, all) = count.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(done) || !is_number(all) {
        return None;
    }
    let stage = if stage.is_empty() { String::new() } else { format!(" ({stage})") };
    Some(format!("Step {done}/{all} : {rest}{stage}"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use kiln_engine::progress::LogStream;

    use super::*;

    #[test]
    fn steps_are_told_as_the_classic_builder_does() {
        let mut lines = Lines::default();
        let mut of =
            |step: u32, kind| lines.of(Event { at: SystemTime::UNIX_EPOCH, step: StepId(step), kind });
        let registered = |name: &str| EventKind::Registered {
            name: name.to_owned(),
            digest: None,
            inputs: Vec::new(),
            stage: None,
        };
        let log = |text: &str| EventKind::Log { stream: LogStream::Stdout, bytes: text.as_bytes().to_vec() };
        for (step, name) in [(0, "[internal] load"), (1, "[1/2] FROM a"), (2, "[build 2/2] RUN b")] {
            assert_eq!(of(step, registered(name)), "");
        }
        assert_eq!(of(0, EventKind::Started), "");
        assert_eq!(of(1, EventKind::Cached), "Step 1/2 : FROM a\n ---> Using cache\n");
        assert_eq!(of(2, EventKind::Started), "Step 2/2 : RUN b (build)\n");
        assert_eq!(of(2, log("x\n")), "x\n");
        assert_eq!(of(1, log("y\n")), " ---> Step 1/2 : FROM a\ny\n");
        assert_eq!(of(2, EventKind::Done), "");
    }
}
