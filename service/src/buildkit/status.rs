//! What a build's watchers are told: the engine's events as vertexes, statuses, logs and warnings, all from the start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{
    StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning,
};
use bollard_buildkit_proto::pb;
use futures_util::Stream;
use futures_util::stream::unfold;
use kiln_engine::oci::Digest;
use kiln_engine::progress::{Event, EventKind, LogStream, ProgressSink, StepId, Transfer, Warning};
use prost::Message as _;
use tokio::sync::Notify;
use tonic::Status;

use super::errors::LANGUAGE;
use crate::observe::Step;

/// The most bytes of output that are kept of one build, and what is said where there was more.
const MAX_LOGS: usize = 32 << 20;
const CLIPPED: &[u8] = b"[output clipped, log limit of the build reached]\n";
/// The most bytes of warnings that are kept of one build, each with the text that it is about; less than one message may
/// have. More are counted and not told.
const MAX_WARNINGS: usize = 12 << 20;
/// The most bytes of everything that is kept of one build; what comes then is neither kept nor told.
const MAX_TOLD: usize = 64 << 20;
/// How far one piece of work has come is told so often, and at its end.
const PROGRESS: Duration = Duration::from_millis(100);
/// Bytes that anything counts for beside its texts.
const OVERHEAD: usize = 256;
/// The most bytes of output that are told at once.
const MAX_CHUNK: usize = 1 << 20;
/// What clients take for an end without a failure.
const CANCELLED: &str = "context canceled";

/// What happened in a build so far. It keeps everything, so that who comes late misses nothing.
pub(super) struct Recorder {
    /// What steps without a digest are told apart by.
    name: String,
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    told: Vec<Told>,
    vertexes: HashMap<String, Vertex>,
    /// When each piece of work began, and when it was last told of.
    statuses: HashMap<(String, String), (Timestamp, Instant)>,
    /// Bytes of everything in `told`.
    bytes: usize,
    log_bytes: usize,
    warning_bytes: usize,
    clipped: bool,
    ended: bool,
    counts: Counts,
}

/// The numbers of a build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) cached: i32,
    pub(super) completed: i32,
    pub(super) warnings: i32,
    pub(super) total: i32,
}

/// One thing that was told.
enum Told {
    Vertex(Vertex),
    Status(VertexStatus),
    Log(VertexLog),
    Warning(VertexWarning),
}

impl Recorder {
    pub(super) fn new(name: &str) -> Recorder {
        Recorder { name: name.to_owned(), state: Mutex::default(), more: Notify::new() }
    }

    /// Who hears the events of one solve of the build. `digests` are what the client calls the first of its steps.
    pub(super) fn sink(self: &Arc<Self>, solve: u32, digests: Vec<Option<String>>) -> Arc<dyn ProgressSink> {
        let digests = digests.into_iter().enumerate();
        let known = digests.filter_map(|(step, digest)| Some((StepId(u32::try_from(step).ok()?), digest?)));
        let (recorder, known) = (self.clone(), Mutex::new(known.collect::<HashMap<_, _>>()));
        Arc::new(move |event: Event| recorder.event(solve, &known, event))
    }

    /// A warning that a client gives about one of its vertexes.
    pub(super) fn warn(&self, warning: VertexWarning) {
        self.state().warning(warning);
        self.more.notify_waiters();
    }

    /// Nothing more will happen.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.more.notify_waiters();
    }

    /// How many bytes are kept.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// The numbers so far.
    pub(super) fn counts(&self) -> Counts {
        let state = self.state();
        Counts { total: state.vertexes.len() as i32, ..state.counts }
    }

    /// The steps so far.
    pub(super) fn steps(&self) -> Vec<Step> {
        let time = |at: Option<Timestamp>| at.and_then(moment);
        let step = |vertex: &Vertex| Step {
            name: vertex.name.clone(),
            digest: vertex.digest.clone(),
            began: time(vertex.started),
            ended: time(vertex.completed),
            cached: vertex.cached,
            error: vertex.error.clone(),
        };
        self.state().vertexes.values().map(step).collect()
    }

    /// Everything from the start, and what still comes.
    pub(super) fn watch(self: Arc<Self>) -> impl Stream<Item = Result<StatusResponse, Status>> {
        unfold((self, 0), |(recorder, mut next)| async move {
            loop {
                let more = recorder.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                let (response, ended) = recorder.take(&mut next);
                if let Some(response) = response {
                    return Some((Ok(response), (recorder.clone(), next)));
                }
                if ended {
                    return None;
                }
                more.await;
            }
        })
    }

    /// What was told from `next` on, as much as goes into one message.
    fn take(&self, next: &mut usize) -> (Option<StatusResponse>, bool) {
        let state = self.state();
        let mut response = StatusResponse::default();
        let (begin, mut bytes) = (*next, 0);
        while let Some(told) = state.told.get(*next).filter(|_| bytes < MAX_CHUNK) {
            match told {
                Told::Vertex(vertex) => response.vertexes.push(vertex.clone()),
                Told::Status(status) => response.statuses.push(status.clone()),
                Told::Log(log) => {
                    bytes += log.msg.len();
                    response.logs.push(log.clone());
                }
                Told::Warning(warning) => {
                    bytes += warning.encoded_len();
                    response.warnings.push(warning.clone());
                }
            }
            bytes += 128;
            *next += 1;
        }
        ((*next > begin).then_some(response), state.ended)
    }

    fn event(&self, solve: u32, known: &Mutex<HashMap<StepId, String>>, event: Event) {
        let Event { at, step, kind } = event;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let EventKind::Registered { digest: Some(digest), .. } = &kind {
            known.entry(step).or_insert_with(|| digest.to_string());
        }
        let of = |step: StepId| known.get(&step).cloned().unwrap_or_else(|| self.made_up(solve, step));
        let vertex = of(step);
        let mut state = self.state();
        let at = timestamp(at);
        match kind {
            EventKind::Registered { name, inputs, .. } => {
                let inputs = inputs.into_iter().map(of).collect();
                state.vertex(Vertex { digest: vertex, inputs, name, ..Vertex::default() });
            }
            EventKind::Started => state.change(&vertex, |vertex| vertex.started = Some(at)),
            EventKind::Cached => {
                state.counts.cached += 1;
                state.complete(&vertex, at, |vertex| vertex.cached = true);
            }
            EventKind::Done => state.complete(&vertex, at, |_| {}),
            EventKind::Failed(why) => state.complete(&vertex, at, |vertex| vertex.error = why),
            EventKind::Cancelled => {
                state.complete(&vertex, at, |vertex| vertex.error = CANCELLED.to_owned());
            }
            EventKind::Log { stream, bytes } => {
                let stream = if stream == LogStream::Stdout { 1 } else { 2 };
                state.log(VertexLog { vertex, timestamp: Some(at), stream, msg: bytes });
            }
            EventKind::Explained(line) => {
                let msg = format!("{line}\n").into_bytes();
                state.log(VertexLog { vertex, timestamp: Some(at), stream: 1, msg });
            }
            EventKind::Transfer(transfer) => state.transfer(vertex, at, transfer),
            EventKind::Warning(told) => state.warning(warning(vertex, *told)),
        }
        drop(state);
        self.more.notify_waiters();
    }

    /// A digest for a step that has none: the same for the same step.
    fn made_up(&self, solve: u32, step: StepId) -> String {
        Digest::of(format!("{} {solve} {}", self.name, step.0).as_bytes()).to_string()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time that a message has; none where it is before 1970.
fn moment(at: Timestamp) -> Option<SystemTime> {
    let (seconds, nanoseconds) = (u64::try_from(at.seconds).ok()?, u32::try_from(at.nanos).ok()?);
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

impl State {
    /// Keeps something, if there is room.
    fn tell(&mut self, told: Told) -> bool {
        let bytes = OVERHEAD + told.len();
        let fits = self.bytes + bytes <= MAX_TOLD;
        if fits {
            self.bytes += bytes;
            self.told.push(told);
        }
        fits
    }

    fn vertex(&mut self, vertex: Vertex) {
        if self.tell(Told::Vertex(vertex.clone())) {
            self.vertexes.insert(vertex.digest.clone(), vertex);
        }
    }

    fn change(&mut self, digest: &str, change: impl FnOnce(&mut Vertex)) {
        let Some(vertex) = self.vertexes.get_mut(digest) else { return };
        change(vertex);
        let vertex = vertex.clone();
        self.tell(Told::Vertex(vertex));
    }

    fn complete(&mut self, digest: &str, at: Timestamp, change: impl FnOnce(&mut Vertex)) {
        self.counts.completed += 1;
        self.change(digest, |vertex| {
            vertex.started.get_or_insert(at);
            vertex.completed = Some(at);
            change(vertex);
        });
    }

    fn log(&mut self, mut log: VertexLog) {
        if self.clipped {
            return;
        }
        if self.log_bytes + log.msg.len() > MAX_LOGS {
            self.clipped = true;
            log.msg = CLIPPED.to_vec();
        }
        self.log_bytes += log.msg.len();
        self.tell(Told::Log(log));
    }

    fn warning(&mut self, warning: VertexWarning) {
        self.counts.warnings += 1;
        let bytes = warning.encoded_len();
        if self.warning_bytes + bytes <= MAX_WARNINGS {
            self.warning_bytes += bytes;
            self.tell(Told::Warning(warning));
        }
    }

    /// How far a piece of work has come.
    fn transfer(&mut self, vertex: String, at: Timestamp, transfer: Transfer) {
        let Transfer { item, action, current, total, done } = transfer;
        let id = if action == "downloading" { item } else { format!("{action} {item}") };
        let (key, now) = ((vertex.clone(), id.clone()), Instant::now());
        let started = match self.statuses.get_mut(&key) {
            Some((_, last)) if !done && now.duration_since(*last) < PROGRESS => return,
            Some((started, last)) => {
                *last = now;
                *started
            }
            None => at,
        };
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let told = self.tell(Told::Status(VertexStatus {
            name: id.clone(),
            id,
            vertex,
            current: number(current),
            total: number(total.unwrap_or(0)),
            timestamp: Some(at),
            started: Some(started),
            completed: done.then_some(at),
        }));
        if told {
            self.statuses.entry(key).or_insert((started, now));
        }
    }
}

impl Told {
    /// The bytes of its texts.
    fn len(&self) -> usize {
        match self {
            Told::Vertex(vertex) => vertex.encoded_len(),
            Told::Status(status) => status.encoded_len(),
            Told::Log(log) => log.encoded_len(),
            Told::Warning(warning) => warning.encoded_len(),
        }
    }
}

fn warning(vertex: String, warning: Warning) -> VertexWarning {
    let Warning { short, detail, hint, url, place } = warning;
    let lines = detail.into_iter().chain(hint).map(String::into_bytes);
    let position = |line: u32| Some(pb::Position { line: line as i32, character: 0 });
    let ranges =
        place.iter().map(|place| pb::Range { start: position(place.first), end: position(place.last) });
    VertexWarning {
        vertex,
        level: 1,
        short: short.into_bytes(),
        detail: lines.collect(),
        url: url.unwrap_or_default(),
        ranges: ranges.collect(),
        info: place.map(|place| pb::SourceInfo {
            filename: place.file,
            data: place.text.as_bytes().to_vec(),
            definition: None,
            language: LANGUAGE.to_owned(),
        }),
    }
}

/// A time in the words of the protocol.
pub(super) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn event(step: u32, kind: EventKind) -> Event {
        Event { at: UNIX_EPOCH, step: StepId(step), kind }
    }

    fn registered(name: &str, inputs: Vec<StepId>) -> EventKind {
        EventKind::Registered { name: name.to_owned(), digest: None, inputs, stage: None }
    }

    #[tokio::test]
    async fn who_comes_late_hears_all_from_the_start() {
        let recorder = Arc::new(Recorder::new("job"));
        let sink = recorder.sink(0, vec![Some("sha256:given".to_owned())]);
        sink.event(event(0, registered("first", Vec::new())));
        sink.event(event(1, registered("second", vec![StepId(0)])));
        sink.event(event(0, EventKind::Cached));
        let log = |text: &str| EventKind::Log { stream: LogStream::Stderr, bytes: text.into() };
        sink.event(event(1, log("hello\n")));
        let mut early = Box::pin(recorder.clone().watch());
        let heard = early.next().await.unwrap().unwrap();
        assert_eq!(heard.vertexes.len(), 3);
        assert_eq!(heard.vertexes[1].inputs, ["sha256:given"]);
        assert!(heard.vertexes[2].cached && heard.vertexes[2].completed.is_some());
        assert_eq!((heard.logs[0].stream, &heard.logs[0].msg[..]), (2, &b"hello\n"[..]));
        sink.event(event(1, EventKind::Failed("no".to_owned())));
        recorder.end();
        assert_eq!(early.next().await.unwrap().unwrap().vertexes[0].error, "no");
        assert!(early.next().await.is_none());
        let late: Vec<_> = recorder.clone().watch().collect().await;
        assert_eq!(late[0].as_ref().unwrap().vertexes.len(), 4);
        assert_eq!(recorder.counts(), Counts { cached: 1, completed: 2, warnings: 0, total: 2 });
    }

    #[tokio::test]
    async fn output_without_end_is_clipped() {
        let recorder = Arc::new(Recorder::new("job"));
        let sink = recorder.sink(0, Vec::new());
        for _ in 0..40 {
            sink.event(event(0, EventKind::Log { stream: LogStream::Stdout, bytes: vec![b'y'; 1 << 20] }));
        }
        recorder.end();
        let heard: Vec<_> = recorder.watch().map(Result::unwrap).collect().await;
        let bytes: usize = heard.iter().flat_map(|told| &told.logs).map(|log| log.msg.len()).sum();
        assert!(bytes <= MAX_LOGS + CLIPPED.len());
        assert_eq!(heard.last().unwrap().logs.last().unwrap().msg, CLIPPED);
        assert!(heard.iter().all(|told| told.logs.len() <= 2), "a message is no larger than it may be");
    }
    /// A client can solve and have downloaded as often as it likes.
    #[tokio::test]
    async fn what_is_kept_of_a_build_has_a_limit() {
        let recorder = Arc::new(Recorder::new("job"));
        let transfer = |done, current| {
            let (item, action) = ("layer".to_owned(), "downloading");
            EventKind::Transfer(Transfer { item, action, current, total: None, done })
        };
        let sink = recorder.sink(0, Vec::new());
        (0..1000).for_each(|current| sink.event(event(0, transfer(false, current))));
        sink.event(event(0, transfer(true, 1000)));
        let told = recorder.state().told.len();
        assert!(told < 100, "{told} times in a moment");
        let Some(Told::Status(last)) = recorder.state().told.pop() else { panic!("no status") };
        assert!(last.completed.is_some() && last.current == 1000);
        for solve in 0..4096 {
            let sink = recorder.sink(solve, Vec::new());
            sink.event(event(1, registered(&"n".repeat(32 << 10), Vec::new())));
        }
        assert!(recorder.bytes() <= MAX_TOLD);
        let state = recorder.state();
        assert!(state.vertexes.len() < 2100, "{}", state.vertexes.len());
    }
}
