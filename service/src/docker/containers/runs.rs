//! What this daemon knows of running containers beyond what the engine keeps: who attached before the start, and who waits
//! for the end.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use kiln_engine::ErrorKind;
use kiln_engine::attach::{Attach, AttachInput, AttachOptions, Chunk};
use kiln_engine::containers::{Container, Status};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::tell;
use crate::docker::{Daemon, stream, task};

/// Ends that somebody who waits may be behind.
const BEHIND: usize = 1024;
/// How long one of several viewers may keep the others waiting, in all.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it has room.
const LOOK: Duration = Duration::from_millis(10);
/// The exit code of a container that was killed together with its supervisor.
const KILLED: i32 = 137;

/// A container's program ended, or never will begin.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// The container's id.
    pub(crate) id: String,
    /// The exit code; nothing where the container was removed and did not run.
    pub(crate) code: Option<i32>,
}

/// Somebody who watches a container.
pub(crate) struct Viewer {
    /// Where output goes.
    pub(crate) output: mpsc::Sender<io::Result<Bytes>>,
    /// Whether each piece says which stream it is of.
    pub(crate) framed: bool,
    /// Which streams are wanted: standard output, standard error.
    pub(crate) wanted: [bool; 2],
    /// Who is told the way in, once there is one.
    pub(crate) input: Option<oneshot::Sender<Arc<dyn AttachInput>>>,
}

impl Viewer {
    /// Passes some output on, and waits while the viewer is behind; whether it still watches.
    fn show(&self, chunk: &Chunk) -> bool {
        match self.wants(chunk) {
            Some(bytes) => self.output.blocking_send(Ok(bytes)).is_ok(),
            None => !self.output.is_closed(),
        }
    }

    /// The same for one among others, who are kept waiting as long as there is `patience` left.
    fn show_among_others(&self, chunk: &Chunk, patience: &mut Duration) -> bool {
        let Some(bytes) = self.wants(chunk) else { return !self.output.is_closed() };
        let (begin, mut piece) = (Instant::now(), Ok(bytes));
        loop {
            match self.output.try_send(piece) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if begin.elapsed() < *patience => piece = back,
                Err(_) => return false,
            }
            std::thread::sleep(LOOK);
        }
        *patience = patience.saturating_sub(begin.elapsed());
        true
    }

    /// The bytes of some output as the viewer wants them; nothing where it does not want that stream.
    fn wants(&self, chunk: &Chunk) -> Option<Bytes> {
        use kiln_engine::attach::Stream;
        let [out, err] = self.wanted;
        let wanted =
            matches!((chunk.stream, out, err), (Stream::Stdout, true, _) | (Stream::Stderr, _, true));
        let bytes =
            || if self.framed { stream::frame(chunk.stream, &chunk.bytes) } else { chunk.bytes.clone() };
        wanted.then(|| bytes().into())
    }
}

/// Those who watch one container. One alone is waited for; of several, who is too slow is let go.
struct Audience(Vec<(Viewer, Duration)>);

impl Audience {
    fn new(viewers: Vec<Viewer>) -> Audience {
        Audience(viewers.into_iter().map(|viewer| (viewer, PATIENCE)).collect())
    }

    fn show(&mut self, chunk: &Chunk) {
        let alone = self.0.len() == 1;
        self.0.retain_mut(|(viewer, patience)| match alone {
            true => viewer.show(chunk),
            false => viewer.show_among_others(chunk, patience),
        });
    }
}

impl fmt::Debug for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewer")
            .field("framed", &self.framed)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Runs {
    state: Mutex<State>,
    ended: broadcast::Sender<Ended>,
}

#[derive(Debug, Default)]
struct State {
    /// Who watches from the next start on, by container.
    waiting: HashMap<String, Vec<Viewer>>,
    /// How many threads mind a container.
    minders: HashMap<String, usize>,
}

impl Default for Runs {
    fn default() -> Self {
        Runs { state: Mutex::default(), ended: broadcast::channel(BEHIND).0 }
    }
}

impl Runs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends as they come.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Ended> {
        self.ended.subscribe()
    }

    /// Tells that a run is over, or that there was none.
    pub(crate) fn tell(&self, id: &str, code: i32) {
        let _ = self.ended.send(Ended { id: id.to_owned(), code: Some(code) });
    }

    /// Sends those away who wait for a start that will never be: the container is removed, and did not run.
    pub(crate) fn forget(&self, id: &str) {
        drop(self.take_viewers(id));
        let _ = self.ended.send(Ended { id: id.to_owned(), code: None });
    }

    /// Has `viewer` watch from the next start on. Those that have gone away meanwhile are not kept: who waits has a
    /// connection, so there are no more than of those.
    pub(crate) fn watch(&self, id: &str, viewer: Viewer) {
        let mut state = self.state();
        state.waiting.retain(|_, viewers| {
            viewers.retain(|viewer| !viewer.output.is_closed());
            !viewers.is_empty()
        });
        state.waiting.entry(id.to_owned()).or_default().push(viewer);
    }

    /// Who wants to watch from the start that comes now.
    pub(crate) fn take_viewers(&self, id: &str) -> Vec<Viewer> {
        self.state().waiting.remove(id).unwrap_or_default()
    }

    fn is_minded(&self, id: &str) -> bool {
        self.state().minders.contains_key(id)
    }

    fn begin(&self, id: &str) {
        *self.state().minders.entry(id.to_owned()).or_default() += 1;
    }

    /// One minder less.
    fn end(&self, id: &str) {
        let mut state = self.state();
        if let Some(count) = state.minders.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                state.minders.remove(id);
            }
        }
    }

    fn has_another(&self, id: &str) -> bool {
        self.state().minders.get(id).is_some_and(|count| *count > 1)
    }
}

/// Has a thread look after a container that runs: output to viewers, the end to those who wait.
pub(crate) fn mind(
    daemon: &Daemon,
    container: Container,
    attach: Attach,
    viewers: Vec<Viewer>,
) -> kiln_engine::Result<()> {
    let daemon = daemon.clone();
    daemon.runs.begin(&container.id);
    let id = container.id.clone();
    let mine = daemon.clone();
    let started = task::thread("container", move || {
        look_after(&mine, &container, attach, viewers);
        mine.runs.end(&container.id);
    });
    started.inspect_err(|_| daemon.runs.end(&id))
}

/// Sees to it that the end of a running container will be told, whoever started it. It will not where that has just ended.
pub(crate) fn see_to(daemon: &Daemon, container: &Container) -> kiln_engine::Result<bool> {
    if daemon.runs.is_minded(&container.id) {
        return Ok(true);
    }
    match daemon.engine.containers().attach(&container.id, &AttachOptions::default()) {
        Ok(attach) => mind(daemon, container.clone(), attach, Vec::new()).map(|()| true),
        // Its end is in its record.
        Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}

fn look_after(daemon: &Daemon, container: &Container, attach: Attach, viewers: Vec<Viewer>) {
    let mut next = Some((attach, viewers));
    while let Some((attach, viewers)) = next.take() {
        let code = follow(attach, viewers);
        let containers = daemon.engine.containers();
        let now = containers.inspect(&container.id);
        tell(daemon, "die", container, [("exitCode".to_owned(), code.to_string())]);
        match now {
            // Its restart policy starts it again.
            Ok(now) if is_active(&now) && !daemon.runs.has_another(&container.id) => {
                let again = containers.attach(&container.id, &AttachOptions::default()).ok();
                next = again.map(|attach| (attach, Vec::new()));
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                daemon.execs.forget(&container.id);
                tell(daemon, "destroy", container, []);
            }
            _ => {}
        }
        daemon.runs.tell(&container.id, code);
    }
}

/// Shows output to viewers until its end, and gives the exit code.
fn follow(attach: Attach, mut viewers: Vec<Viewer>) -> i32 {
    let Attach { input, mut output, mut exit } = attach;
    for viewer in &mut viewers {
        if let Some(told) = viewer.input.take() {
            let _ = told.send(Arc::clone(&input));
        }
    }
    let mut audience = Audience::new(viewers);
    while let Ok(Some(chunk)) = output.next() {
        audience.show(&chunk);
    }
    drop(audience);
    exit.wait().unwrap_or(KILLED)
}

/// Shows the output of a process to one viewer until its end or until the viewer has gone away.
pub(crate) fn show(attach: Attach, mut viewer: Viewer) -> i32 {
    let Attach { input, mut output, mut exit } = attach;
    if let Some(told) = viewer.input.take() {
        let _ = told.send(Arc::clone(&input));
    }
    let mut viewer = Some(viewer);
    while let Ok(Some(chunk)) = output.next() {
        if viewer.as_ref().is_some_and(|viewer| !viewer.show(&chunk)) {
            viewer = None;
            input.hang_up();
        }
    }
    drop(viewer);
    exit.wait().unwrap_or(KILLED)
}

/// Whether a container has a supervisor.
pub(crate) fn is_active(container: &Container) -> bool {
    matches!(container.state.status, Status::Running | Status::Paused | Status::Restarting)
}

#[cfg(test)]
mod tests {
    use kiln_engine::attach::Stream;

    use super::*;

    fn viewer(output: mpsc::Sender<io::Result<Bytes>>) -> Viewer {
        Viewer { output, framed: false, wanted: [true, true], input: None }
    }

    #[test]
    fn who_does_not_read_keeps_nobody_waiting_for_ever() {
        let (slow, _unread) = mpsc::channel(1);
        let (quick, mut read) = mpsc::channel(64);
        let mut audience = Audience::new(vec![viewer(slow), viewer(quick)]);
        audience.0[0].1 = Duration::from_millis(50);
        for _ in 0..8 {
            audience.show(&Chunk { stream: Stream::Stdout, bytes: b"x".to_vec() });
        }
        assert_eq!(audience.0.len(), 1, "the slow one was let go");
        assert_eq!(std::iter::from_fn(|| read.try_recv().ok()).count(), 8, "and the other missed nothing");
    }
}
