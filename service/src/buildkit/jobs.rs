//! The builds that run and those that ran, by the reference that their client gave them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::{Exporter, SolveRequest};
use kiln_engine::CancellationToken;
use kiln_engine::build::Input;
use prost::Message as _;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Code, Status};

use super::blobs::Blob;
use super::errors;
use super::exports::MAX_EXPORTERS;
use super::gateway::Gateway;
use super::status::Recorder;
use crate::observe::{Build, Observer, Outcome, Parent};

/// How long somebody waits for a build that is about to begin.
const WAIT: Duration = Duration::from_secs(5);
/// The most builds at once, those that wait for their turn included, and the most bytes of what they were asked with.
const MAX_RUNNING: usize = 4096;
const MAX_ASKED: usize = 256 << 20;
/// The most builds that are remembered.
const MAX_REMEMBERED: usize = 100;
/// The most bytes of what else is kept of one build.
const MAX_BLOBS: usize = 4 << 20;
/// The most bytes that are kept of builds that are over.
const MAX_KEPT: usize = 64 << 20;
/// The most bytes of one attribute that are remembered, and of all of a build.
const MAX_ATTRIBUTE: usize = 4 << 10;
const MAX_ATTRIBUTES: usize = 64 << 10;
/// The longest reference.
const MAX_REFERENCE: usize = 256;
/// News that a slow listener may be behind.
const NEWS: usize = 256;

/// A build.
pub(super) struct Job {
    /// What its client calls it.
    pub(super) reference: String,
    /// What was asked for, without what is large.
    pub(super) asked: Asked,
    /// What its watchers are told.
    pub(super) recorder: Arc<Recorder>,
    /// Gives it up.
    pub(super) cancel: CancellationToken,
    /// Where its client solves parts of it.
    pub(super) gateway: Arc<Gateway>,
    /// Whether it is remembered.
    pub(super) internal: bool,
    pub(super) began: SystemTime,
    /// The context where it comes with the request.
    context: Mutex<Option<Input>>,
    /// What is kept of it besides its record.
    blobs: Mutex<Vec<Arc<Blob>>>,
    /// The bytes of what it was asked with.
    size: usize,
    ended: Mutex<Option<Ended>>,
    pinned: Mutex<bool>,
    /// The span of its client's that it is a part of.
    parent: OnceLock<Parent>,
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) frontend: String,
    pub(super) attributes: HashMap<String, String>,
    pub(super) exporters: Vec<Exporter>,
}

impl Asked {
    /// What is remembered of a request: all but what is long.
    fn of(request: &SolveRequest, exporters: &[Exporter]) -> Asked {
        let mut room = MAX_ATTRIBUTES;
        let mut short = |key: &str, value: &str| {
            let size = key.len() + value.len();
            let fits = size <= MAX_ATTRIBUTE.min(room);
            room -= if fits { size } else { 0 };
            fits
        };
        let mut exporters = exporters.to_vec();
        exporters.truncate(MAX_EXPORTERS);
        exporters.retain(|exporter| short("", &exporter.r#type));
        exporters.iter_mut().for_each(|exporter| exporter.attrs.retain(|key, value| short(key, value)));
        let mut attributes: Vec<_> = request.frontend_attrs.iter().collect();
        // The same are remembered each time.
        attributes.sort();
        attributes.retain(|(key, value)| short(key, value));
        Asked {
            frontend: request.frontend.chars().take(MAX_REFERENCE).collect(),
            attributes: attributes.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            exporters,
        }
    }
}

/// How a build ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) at: SystemTime,
    /// What its client was answered.
    pub(super) answer: Result<HashMap<String, String>, rpc::Status>,
}

/// What happened to a build.
#[derive(Clone)]
pub(super) enum News {
    Began(Arc<Job>),
    Ended(Arc<Job>),
    Forgotten(Arc<Job>),
}

/// All builds.
pub(super) struct Jobs {
    state: Mutex<State>,
    arrived: Notify,
    news: broadcast::Sender<News>,
    stop: CancellationToken,
    observer: Arc<Observer>,
}

#[derive(Default)]
struct State {
    running: HashMap<String, Arc<Job>>,
    /// Those that are over, the oldest first.
    over: VecDeque<Arc<Job>>,
}

impl Jobs {
    /// None yet; those to come are given up at `stop`, and `observer` hears of their ends.
    pub(super) fn new(stop: CancellationToken, observer: Arc<Observer>) -> Jobs {
        let (news, _) = broadcast::channel(NEWS);
        Jobs { state: Mutex::default(), arrived: Notify::new(), news, stop, observer }
    }

    /// Begins a build.
    pub(super) fn begin(&self, request: &SolveRequest, exporters: &[Exporter]) -> Result<Arc<Job>, Status> {
        let reference = &request.r#ref;
        if reference.is_empty() || reference.len() > MAX_REFERENCE {
            return Err(Status::invalid_argument("a build needs a reference, of 256 bytes at most"));
        }
        let job = Arc::new(Job {
            reference: reference.clone(),
            asked: Asked::of(request, exporters),
            recorder: Arc::new(Recorder::new(reference)),
            cancel: self.stop.child_token(),
            gateway: Arc::default(),
            internal: request.internal,
            began: SystemTime::now(),
            context: Mutex::default(),
            blobs: Mutex::default(),
            size: request.encoded_len(),
            ended: Mutex::default(),
            pinned: Mutex::default(),
            parent: OnceLock::new(),
        });
        let mut state = self.state();
        if state.find(reference).is_some() {
            return Err(Status::already_exists(format!("job ID {reference} exists")));
        }
        if state.running.len() >= MAX_RUNNING {
            return Err(Status::resource_exhausted(format!("{MAX_RUNNING} builds run already")));
        }
        if state.asked() + job.size > MAX_ASKED {
            return Err(Status::resource_exhausted("the builds that run or wait ask for too much already"));
        }
        state.running.insert(reference.clone(), job.clone());
        drop(state);
        self.arrived.notify_waiters();
        self.tell(News::Began(job.clone()));
        Ok(job)
    }

    /// Ends a build: it is remembered, and the oldest that nobody pinned may be forgotten for it.
    pub(super) fn end(&self, job: &Arc<Job>, answer: &Result<HashMap<String, String>, Status>) {
        let answer = answer.clone().map_err(|status| errors::to_message(&status));
        if let Err(failure) = &answer
            && !failure.details.is_empty()
        {
            job.keep(Blob::of_failure(failure));
        }
        *job.ended() = Some(Ended { at: SystemTime::now(), answer });
        job.gateway.close();
        job.bring(None);
        job.recorder.end();
        if let Some(build) = job.observed().filter(|_| !job.internal) {
            self.observer.build(build);
        }
        let mut state = self.state();
        state.running.remove(&job.reference);
        state.over.push_back(job.clone());
        let mut old = Vec::new();
        while state.is_full()
            && let Some(at) = state.over.iter().position(|job| !job.is_pinned())
        {
            old.extend(state.over.remove(at));
        }
        drop(state);
        self.tell(News::Ended(job.clone()));
        old.into_iter().for_each(|job| self.tell(News::Forgotten(job)));
    }

    /// The build `reference`, which may be about to begin.
    pub(super) async fn get(&self, reference: &str) -> Result<Arc<Job>, Status> {
        let deadline = Instant::now() + WAIT;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(job) = self.state().find(reference) {
                return Ok(job);
            }
            if timeout_at(deadline, arrived).await.is_err() {
                let shown: String = reference.escape_debug().take(MAX_REFERENCE).collect();
                return Err(Status::not_found(format!("no such job {shown}")));
            }
        }
    }

    /// Gives a build up, if it runs.
    pub(super) fn cancel(&self, reference: &str) {
        if let Some(job) = self.state().running.get(reference) {
            job.cancel.cancel();
        }
    }

    /// Every build, the oldest first, those that run last.
    pub(super) fn all(&self) -> Vec<Arc<Job>> {
        let state = self.state();
        let mut running: Vec<Arc<Job>> = state.running.values().cloned().collect();
        running.sort_by_key(|job| job.began);
        state.over.iter().cloned().chain(running).collect()
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Forgets a build that is over; whether there was one.
    pub(super) fn forget(&self, reference: &str) -> bool {
        let mut state = self.state();
        let at = state.over.iter().position(|job| job.reference == reference);
        let job = at.and_then(|at| state.over.remove(at));
        drop(state);
        job.map(|job| self.tell(News::Forgotten(job))).is_some()
    }

    /// What happens from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Waits until nothing happens any more.
    pub(super) fn stopped(&self) -> WaitForCancellationFutureOwned {
        self.stop.clone().cancelled_owned()
    }

    fn tell(&self, news: News) {
        let internal = match &news {
            News::Began(job) | News::Ended(job) | News::Forgotten(job) => job.internal,
        };
        if !internal {
            // An error means that nobody listens.
            drop(self.news.send(news));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self) -> bool {
        let kept = |job: &Arc<Job>| job.recorder.bytes() + job.kept();
        let kept: usize = self.over.iter().map(kept).sum();
        self.over.len() > MAX_REMEMBERED || kept > MAX_KEPT
    }

    /// The bytes of what those that run were asked with.
    fn asked(&self) -> usize {
        self.running.values().map(|job| job.size).sum()
    }

    fn find(&self, reference: &str) -> Option<Arc<Job>> {
        let over = || self.over.iter().find(|job| job.reference == reference);
        self.running.get(reference).or_else(over).cloned()
    }
}

impl Job {
    /// Gives it the context that came with its request.
    pub(super) fn bring(&self, context: Option<Input>) {
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = context;
    }

    /// The context that came with its request, for whoever asks first.
    pub(super) fn brought(&self) -> Option<Input> {
        self.context.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps something of it, unless that is too much.
    pub(super) fn keep(&self, blob: Blob) {
        let mut blobs = self.all_blobs();
        if blobs.iter().map(|blob| blob.len()).sum::<usize>() + blob.len() <= MAX_BLOBS {
            blobs.push(Arc::new(blob));
        }
    }

    /// What is kept of it besides its record.
    pub(super) fn blobs(&self) -> Vec<Arc<Blob>> {
        self.all_blobs().clone()
    }

    /// How many bytes that is.
    fn kept(&self) -> usize {
        self.all_blobs().iter().map(|blob| blob.len()).sum()
    }

    fn all_blobs(&self) -> MutexGuard<'_, Vec<Arc<Blob>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, if it did.
    pub(super) fn outcome(&self) -> Option<Ended> {
        self.ended().clone()
    }

    /// Notes which span of its client's it is a part of.
    pub(super) fn set_parent(&self, parent: Option<Parent>) {
        if let Some(parent) = parent {
            // It has one at most: it begins once.
            drop(self.parent.set(parent));
        }
    }

    /// How it went, once it ended.
    fn observed(&self) -> Option<Build> {
        let Ended { at, answer } = self.outcome()?;
        let outcome = match answer {
            Ok(_) => Outcome::Completed,
            Err(status) if status.code == i32::from(Code::Cancelled) => Outcome::Cancelled,
            Err(status) => Outcome::Failed(status.message),
        };
        Some(Build {
            reference: self.reference.clone(),
            frontend: self.asked.frontend.clone(),
            began: self.began,
            ended: at,
            outcome,
            steps: self.recorder.steps(),
            parent: self.parent.get().cloned(),
        })
    }

    /// Whether it is kept however many come after it.
    pub(super) fn is_pinned(&self) -> bool {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it, or not.
    pub(super) fn pin(&self, pinned: bool) {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = pinned;
    }

    fn ended(&self) -> MutexGuard<'_, Option<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reference: &str, bytes: usize) -> SolveRequest {
        let attrs = [("build-arg:A".to_owned(), "x".repeat(bytes)), ("target".to_owned(), "t".to_owned())];
        SolveRequest { r#ref: reference.to_owned(), frontend_attrs: attrs.into(), ..Default::default() }
    }

    #[test]
    fn what_is_long_is_not_remembered() {
        let jobs = Jobs::new(CancellationToken::new(), Arc::default());
        let exporter = Exporter { r#type: "image".to_owned(), attrs: request("", 5000).frontend_attrs };
        let job = jobs.begin(&request("a", 5000), &vec![exporter; 1000]).unwrap();
        assert_eq!(job.asked.attributes.keys().collect::<Vec<_>>(), ["target"]);
        assert_eq!(job.asked.exporters.len(), MAX_EXPORTERS);
        assert!(job.asked.exporters.iter().all(|exporter| exporter.attrs.len() == 1));
    }

    #[test]
    fn builds_that_wait_have_a_limit_in_bytes() {
        let jobs = Jobs::new(CancellationToken::new(), Arc::default());
        let large = 15 << 20;
        let begun = (0..100).filter(|number| jobs.begin(&request(&number.to_string(), large), &[]).is_ok());
        assert_eq!(begun.count(), MAX_ASKED / large);
        assert!(jobs.begin(&request("small", 10), &[]).is_ok());
    }
}
