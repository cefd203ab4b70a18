//! What a build tells whoever watches it: one closed set of events about numbered steps.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use kiln_oci::Digest;

/// A step of one build: a vertex of the definition by its position, or a later number for an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// Something that happened to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it happened; may lie before the moment of its delivery where a step was joined late.
    pub at: SystemTime,
    /// To which step.
    pub step: StepId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a step.
///
/// A step is `Registered` once, then perhaps `Started`, then exactly one of `Cached`, `Done`, `Failed` and
/// `Cancelled`. A step that nobody needed any more gets nothing after `Registered`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The step belongs to this build.
    Registered {
        /// As people know it, for example `[build 2/3] RUN make`.
        name: String,
        /// The digest of its op and of the steps beneath it; an export has none.
        digest: Option<Digest>,
        /// What it works on.
        inputs: Vec<StepId>,
        /// The stage it belongs to.
        stage: Option<String>,
    },
    /// Work on it began.
    Started,
    /// Its result was remembered; nothing ran.
    Cached,
    /// It wrote something; whole lines where the process writes lines, with their ends, and the beginning of a line
    /// that lasts.
    Log {
        /// From where.
        stream: LogStream,
        /// The bytes as written.
        bytes: Vec<u8>,
    },
    /// Bytes moved.
    Transfer(Transfer),
    /// Why it ran although steps are remembered, where that was asked for: one line.
    Explained(String),
    /// Something that the user should know and that stops nothing.
    Warning(Box<Warning>),
    /// It succeeded.
    Done,
    /// It failed.
    Failed(String),
    /// It was given up, because of another failure or because the user asked.
    Cancelled,
}

/// Something that the user should know, as BuildKit's `VertexWarning`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warning {
    /// One line.
    pub short: String,
    /// Why it is said.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// A page about it.
    pub url: Option<String>,
    /// The lines that are meant.
    pub place: Option<WarningPlace>,
}

/// Lines of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarningPlace {
    /// The file's name.
    pub file: String,
    /// Its whole text.
    pub text: Arc<str>,
    /// The first line, from 1.
    pub first: u32,
    /// The last line.
    pub last: u32,
}

impl From<String> for Box<Warning> {
    fn from(short: String) -> Self {
        Box::new(Warning { short, ..Warning::default() })
    }
}

/// Which of a process's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How far a piece of work has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What is moved: a digest, or words like `exporting layers`. The same text names the same piece.
    pub item: String,
    /// What is done to it: `downloading`, `extracting`, `pushing`, `exporting`.
    pub action: &'static str,
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
    /// Whether it is over.
    pub done: bool,
}

/// Where events go. Called from many threads; must be cheap and must not block for long.
pub trait ProgressSink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// A sink that drops everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl ProgressSink for Silent {
    fn event(&self, _event: Event) {}
}

impl<F: Fn(Event) + Send + Sync> ProgressSink for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// What a piece of work reports to, without knowing which step it is or who watches.
pub trait Reporter: Send + Sync {
    /// Reports what happened now.
    fn report(&self, kind: EventKind);
}

/// The reporter of one step of one build.
pub struct StepReporter<'a> {
    /// Where the events go.
    pub sink: &'a dyn ProgressSink,
    /// Which step they are about.
    pub step: StepId,
}

impl Reporter for StepReporter<'_> {
    fn report(&self, kind: EventKind) {
        self.sink.event(Event { at: SystemTime::now(), step: self.step, kind });
    }
}

impl Reporter for Silent {
    fn report(&self, _kind: EventKind) {}
}

impl fmt::Debug for StepReporter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepReporter").field("step", &self.step).finish_non_exhaustive()
    }
}
