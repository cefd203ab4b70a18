//! Solves a graph: what is remembered is looked up, what is not is run, as much at once as the job allows.
//!
//! For each vertex: look up the key by definition; on a miss solve the inputs and look up the key by content; on a miss
//! run, under single-flight on that key, and remember the result under both. Nothing here recurses: a graph may be as
//! deep as it likes.

mod board;
mod keyed;
mod step;
mod why;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use kiln_cache::Record;
use kiln_graph::{Definition, Edge, Vertex, VertexId};
use kiln_oci::Digest;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::board::{Board, Found};
use self::keyed::Keyed;
use self::step::StepRun;
use crate::error::{BuildError, Cause, Failure};
use crate::explain::{Explanation, Likeness};
use crate::flight::{Flights, Waiter};
use crate::key::{CacheKey, KeyKind, KeyParts};
use crate::ops::{Op, Pin};
use crate::progress::{Event, EventKind, ProgressSink, StepId, StepReporter};
use crate::session::Session;
use crate::value::{Layers, Value};

/// Sources that one job looks at or waits for at once: whoever sends one may be slow, and a thread waits for each.
const MAX_SOURCES: usize = 16;

/// What is remembered of earlier builds. Blocking; called on the blocking pool.
pub trait Records: Send + Sync {
    /// The outputs remembered under each key, if every one of them can still be had.
    fn lookup(&self, key: &CacheKey, outputs: u32) -> Result<Option<Vec<Layers>>, Cause>;

    /// Remembers `outputs` under both keys.
    fn save(&self, record: &NewRecord<'_>) -> Result<(), Cause>;

    /// In what the step `name` differs from the nearest that is remembered; nothing where no parts are kept.
    fn explain(&self, _name: &str, _step: &Likeness) -> Result<Option<Explanation>, Cause> {
        Ok(None)
    }

    /// The files in which the top layer of `now` is not that of an earlier result.
    fn changed_files(&self, _earlier: &Record, _now: &Layers) -> Result<Vec<String>, Cause> {
        Ok(Vec::new())
    }
}

/// What a step that ran is remembered as.
#[derive(Debug)]
pub struct NewRecord<'a> {
    /// The key by definition, and what made it.
    pub definition: (&'a CacheKey, &'a KeyParts),
    /// The key by content, and what made it.
    pub content: (&'a CacheKey, &'a KeyParts),
    /// The step's name, for people.
    pub name: &'a str,
    /// What later steps are compared with.
    pub likeness: &'a Likeness,
    /// Its results.
    pub outputs: &'a [Layers],
}

/// One question to the solver.
#[derive(Clone)]
pub struct Job {
    /// The graph.
    pub definition: Arc<Definition>,
    /// The ops of its vertices, in their order.
    pub ops: Vec<Arc<dyn Op>>,
    /// What is wanted; never empty.
    pub roots: Vec<Edge>,
    /// Who asks.
    pub session: Session,
    /// Who watches.
    pub progress: Arc<dyn ProgressSink>,
    /// How many steps run at once; shared by jobs that share a machine.
    pub permits: Arc<Semaphore>,
    /// Whether nothing remembered is used.
    pub no_cache: bool,
    /// Whether it is told why steps run.
    pub explain: bool,
    /// Ends the job.
    pub cancel: CancellationToken,
}

/// Solves jobs, which share what they have in common; so do the jobs of its clones.
#[derive(Clone)]
pub struct Solver {
    flights: Arc<Flights<Arc<[Value]>>>,
    records: Arc<dyn Records>,
}

type Outputs = Arc<[Value]>;

impl Solver {
    /// A solver that remembers in `records`.
    pub fn new(records: Arc<dyn Records>) -> Self {
        Solver { flights: Arc::default(), records }
    }

    /// The values of the job's roots, in their order.
    pub async fn solve(&self, job: Job) -> Result<Vec<Value>, BuildError> {
        // One failure ends the siblings; it must not end what the caller's token is also used for.
        let job = Arc::new(Job { cancel: job.cancel.child_token(), ..job });
        let needed = job.definition.reachable(&job.roots);
        job.register(&needed);
        let keyed = self.key(&job, &needed).await?;
        let found = self.find(&job, keyed.clone()).await?;
        job.tell_cached(&needed, &found, &keyed);
        self.drive(&job, &keyed, found).await
    }

    /// The definition keys of a job's vertices, for people who want to see them.
    pub async fn keys(&self, job: Job) -> Result<Vec<(VertexId, CacheKey)>, BuildError> {
        let needed = job.definition.reachable(&job.roots);
        let keyed = self.key(&Arc::new(job), &needed).await?;
        Ok(needed.into_iter().filter_map(|id| Some((id, keyed.vertices.get(&id)?.key.clone()))).collect())
    }

    async fn key(&self, job: &Arc<Job>, needed: &[VertexId]) -> Result<Arc<Keyed>, BuildError> {
        let pins = some_at_once(needed.iter().map(|id| job.pin(*id)).collect()).await?;
        let pins: HashMap<VertexId, Pin> = pins.into_iter().flatten().collect();
        let selected = some_at_once(needed.iter().map(|id| job.select(*id, &pins)).collect()).await?;
        let selected: HashMap<(VertexId, usize), Digest> = selected.into_iter().flatten().collect();
        Ok(Arc::new(Keyed::fold(job, needed, pins, selected)))
    }

    /// Walks down from the roots and looks up; below a hit nothing is asked.
    async fn find(&self, job: &Arc<Job>, keyed: Arc<Keyed>) -> Result<Found, BuildError> {
        let (records, walker) = (self.records.clone(), job.clone());
        let found = tokio::task::spawn_blocking(move || walker.find(&keyed, records.as_ref()));
        found.await.unwrap_or_else(|_| Err(job.error(job.roots[0].vertex, Failure::cancelled())))
    }

    async fn drive(
        &self,
        job: &Arc<Job>,
        keyed: &Arc<Keyed>,
        found: Found,
    ) -> Result<Vec<Value>, BuildError> {
        let mut board = Board::new(job, found);
        let mut running = FuturesUnordered::new();
        let mut failed: Option<BuildError> = None;
        loop {
            if failed.is_none() {
                let ready = std::mem::take(&mut board.ready);
                running.extend(
                    ready.into_iter().map(|id| self.vertex(job, keyed, id, board.take_inputs(job, id))),
                );
            }
            match running.next().await {
                None => break,
                Some((id, Ok(outputs))) => board.done(id, outputs),
                Some((id, Err(failure))) => {
                    job.cancel.cancel();
                    // The first real failure is the one to tell; those it cancelled follow.
                    if failed.as_ref().is_none_or(BuildError::is_cancelled) {
                        failed = Some(job.error(id, failure));
                    }
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(job.roots.iter().map(|root| board.value(*root)).collect()),
        }
    }

    async fn vertex(
        &self,
        job: &Arc<Job>,
        keyed: &Arc<Keyed>,
        id: VertexId,
        inputs: Vec<Value>,
    ) -> (VertexId, Result<Outputs, Failure>) {
        let result = self.step(job, keyed, id, inputs).await;
        if result.as_ref().is_err_and(Failure::is_cancelled) {
            job.tell(id, EventKind::Cancelled);
        }
        (id, result)
    }

    async fn step(
        &self,
        job: &Arc<Job>,
        keyed: &Arc<Keyed>,
        id: VertexId,
        inputs: Vec<Value>,
    ) -> Result<Outputs, Failure> {
        if job.cancel.is_cancelled() {
            return Err(Failure::cancelled());
        }
        if let Some(value) = keyed.value(id) {
            return Ok(Arc::new([value]));
        }
        let op = job.ops[id.index()].clone();
        let parts = job.content_parts(keyed, id, &inputs).await.map_err(|cause| job.told(id, cause))?;
        let fresh = keyed.vertices[&id].fresh;
        let key = if fresh { parts.key().salted(&job.salt()) } else { parts.key() };
        let run = StepRun {
            op,
            inputs,
            likeness: job.likeness(id, &parts),
            explain: job.explain,
            parts,
            keyed: keyed.clone(),
            id,
            fresh,
            name: job.definition.vertex(id).meta.name.clone(),
            outputs: job.definition.vertex(id).op.outputs(),
            permits: job.permits.clone(),
            records: self.records.clone(),
        };
        let waiter = Waiter { sink: job.progress.clone(), step: step_of(id), session: job.session.clone() };
        self.flights.join(&key, waiter, &job.cancel, |crowd| async move { run.fly(&crowd).await }).await
    }
}

/// The results of all, in any order, or the first error.
async fn some_at_once<T>(
    all: Vec<impl Future<Output = Result<T, BuildError>>>,
) -> Result<Vec<T>, BuildError> {
    stream::iter(all).buffer_unordered(MAX_SOURCES).try_collect().await
}

/// The number by which progress knows a vertex.
pub fn step_of(id: VertexId) -> StepId {
    StepId(u32::try_from(id.index()).unwrap_or(u32::MAX))
}

/// Runs blocking code on the blocking pool.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Cause> + Send + 'static,
) -> Result<T, Cause> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Cause::panicked(error.into_panic().as_ref())),
        Err(_) => Err(Cause::Cancelled),
    }
}

impl Job {
    fn tell(&self, id: VertexId, kind: EventKind) {
        self.progress.event(Event { at: SystemTime::now(), step: step_of(id), kind });
    }

    fn vertex(&self, id: VertexId) -> &Vertex {
        self.definition.vertex(id)
    }

    fn register(&self, needed: &[VertexId]) {
        let mut digests: HashMap<VertexId, Digest> = HashMap::with_capacity(needed.len());
        for id in needed {
            let vertex = self.vertex(*id);
            let below = vertex.inputs.iter().map(|edge| digests[&edge.vertex].clone()).collect();
            let parts = KeyParts { kind: KeyKind::Definition, op: vertex.op.digest(), inputs: below };
            let digest = parts.key().digest().clone();
            digests.insert(*id, digest.clone());
            let inputs = vertex.inputs.iter().map(|edge| step_of(edge.vertex)).collect();
            let (name, stage) = (vertex.meta.name.clone(), vertex.meta.stage.clone());
            self.tell(*id, EventKind::Registered { name, digest: Some(digest), inputs, stage });
        }
    }

    /// Steps that nobody had to look at are cached too: below a hit nothing is asked.
    fn tell_cached(&self, needed: &[VertexId], found: &Found, keyed: &Keyed) {
        for id in needed {
            if !found.missed.contains(id) && keyed.value(*id).is_none() {
                self.tell(*id, EventKind::Cached);
            }
        }
    }

    fn error(&self, id: VertexId, failure: Failure) -> BuildError {
        let meta = &self.vertex(id).meta;
        BuildError { step: meta.name.clone(), span: meta.span, failure }
    }

    /// A failure outside a flight, told to this job alone.
    fn told(&self, id: VertexId, cause: Cause) -> Failure {
        if !matches!(cause, Cause::Cancelled) {
            self.tell(id, EventKind::Failed(cause.to_string()));
        }
        Failure::of(cause)
    }

    /// What the step is compared by where it is not remembered.
    fn likeness(&self, id: VertexId, parts: &KeyParts) -> Likeness {
        let vertex = self.vertex(id);
        let below: Vec<&Vertex> = vertex.inputs.iter().map(|edge| self.vertex(edge.vertex)).collect();
        Likeness::of(vertex, &below, parts)
    }

    /// Text that no other job has.
    fn salt(&self) -> String {
        format!("{:p}", Arc::as_ptr(&self.definition))
    }

    async fn pin(&self, id: VertexId) -> Result<Option<(VertexId, Pin)>, BuildError> {
        if !self.vertex(id).inputs.is_empty() {
            return Ok(None);
        }
        let reporter = StepReporter { sink: self.progress.as_ref(), step: step_of(id) };
        let pin = tokio::select! {
            pin = self.ops[id.index()].pin(&self.session, &reporter) => pin,
            () = self.cancel.cancelled() => Err(Cause::Cancelled),
        };
        let pin = pin.map_err(|cause| self.error(id, self.told(id, cause)))?;
        if pin.as_ref().is_some_and(|pin| pin.value.is_some()) {
            self.tell(id, EventKind::Done);
        }
        Ok(pin.map(|pin| (id, pin)))
    }

    /// What a vertex selects of the inputs that are there already.
    async fn select(
        &self,
        id: VertexId,
        pins: &HashMap<VertexId, Pin>,
    ) -> Result<Vec<((VertexId, usize), Digest)>, BuildError> {
        let mut selected = Vec::new();
        for (input, edge) in self.vertex(id).inputs.iter().enumerate() {
            let Some(value) = pins.get(&edge.vertex).and_then(|pin| pin.value.as_ref()) else { continue };
            let digest = self.ops[id.index()].content(input, value).await;
            selected.push(((id, input), digest.map_err(|cause| self.error(id, self.told(id, cause)))?));
        }
        Ok(selected)
    }

    fn find(&self, keyed: &Keyed, records: &dyn Records) -> Result<Found, BuildError> {
        let mut found = Found::default();
        let mut stack: Vec<VertexId> = self.roots.iter().map(|root| root.vertex).collect();
        while let Some(id) = stack.pop() {
            if found.knows(id) {
                continue;
            }
            let vertex = self.vertex(id);
            let ask = !keyed.vertices[&id].tainted && self.ops[id.index()].remembered();
            let hit = match ask {
                true => records.lookup(&keyed.vertices[&id].key, vertex.op.outputs()),
                false => Ok(None),
            };
            match hit.map_err(|cause| self.error(id, self.told(id, cause)))? {
                Some(layers) => drop(found.hits.insert(id, layers.into_iter().map(Value::Layers).collect())),
                None => {
                    found.missed.insert(id);
                    stack.extend(vertex.inputs.iter().map(|edge| edge.vertex));
                }
            }
        }
        Ok(found)
    }

    async fn content_parts(&self, keyed: &Keyed, id: VertexId, inputs: &[Value]) -> Result<KeyParts, Cause> {
        let op = &self.ops[id.index()];
        if let Some(pin) = keyed.pins.get(&id) {
            return Ok(KeyParts { kind: KeyKind::Source, op: pin.identity.clone(), inputs: Vec::new() });
        }
        let mut digests = Vec::with_capacity(inputs.len());
        for (input, value) in inputs.iter().enumerate() {
            digests.push(match keyed.selected.get(&(id, input)) {
                Some(digest) => digest.clone(),
                None => op.content(input, value).await?,
            });
        }
        Ok(KeyParts { kind: KeyKind::Content, op: op.content_definition(), inputs: digests })
    }
}

impl fmt::Debug for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Solver").field("flights", &self.flights).finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("roots", &self.roots).finish_non_exhaustive()
    }
}
