//! Solves a graph: what is remembered is looked up, what is not is run, as much at once as the job allows.
//!
//! For each vertex: look up the key by definition; on a miss solve the inputs and look up the key by content; on a miss
//! run, under single-flight on that key, and remember the result under both. Nothing here recurses: a graph may be as
//! deep as it likes.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use kiln_graph::{Definition, Edge, Vertex, VertexId};
use kiln_oci::Digest;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::error::{BuildError, Cause, Failure};
use crate::flight::{Crowd, Flights, Waiter};
use crate::key::{CacheKey, KeyKind, KeyParts};
use crate::ops::{Op, Pin};
use crate::progress::{Event, EventKind, ProgressSink, Reporter, StepId};
use crate::session::Session;
use crate::value::{Layers, Value};

/// What is remembered of earlier builds. Blocking; called on the blocking pool.
pub trait Records: Send + Sync {
    /// The outputs remembered under each key, if every one of them can still be had.
    fn lookup(&self, key: &CacheKey, outputs: u32) -> Result<Option<Vec<Layers>>, Cause>;

    /// Remembers `outputs` under both keys.
    fn save(&self, record: &NewRecord<'_>) -> Result<(), Cause>;
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
    /// What is wanted.
    pub root: Edge,
    /// Who asks.
    pub session: Session,
    /// Who watches.
    pub progress: Arc<dyn ProgressSink>,
    /// How many steps run at once; shared by jobs that share a machine.
    pub permits: Arc<Semaphore>,
    /// Whether nothing remembered is used.
    pub no_cache: bool,
    /// Ends the job.
    pub cancel: CancellationToken,
}

/// Solves jobs, which share what they have in common.
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

    /// The value of the job's root.
    pub async fn solve(&self, job: Job) -> Result<Value, BuildError> {
        // One failure ends the siblings; it must not end what the caller's token is also used for.
        let job = Arc::new(Job { cancel: job.cancel.child_token(), ..job });
        let needed = job.definition.reachable(job.root.vertex);
        job.register(&needed);
        let keyed = self.key(&job, &needed).await?;
        let found = self.find(&job, keyed.clone()).await?;
        job.tell_cached(&needed, &found, &keyed);
        self.drive(&job, &keyed, found).await
    }

    /// The definition keys of a job's vertices, for people who want to see them.
    pub async fn keys(&self, job: Job) -> Result<Vec<(VertexId, CacheKey)>, BuildError> {
        let needed = job.definition.reachable(job.root.vertex);
        let keyed = self.key(&Arc::new(job), &needed).await?;
        Ok(needed.into_iter().filter_map(|id| Some((id, keyed.vertices.get(&id)?.key.clone()))).collect())
    }

    async fn key(&self, job: &Arc<Job>, needed: &[VertexId]) -> Result<Arc<Keyed>, BuildError> {
        let pins = try_join_all(needed.iter().map(|id| job.pin(*id))).await?;
        let pins: HashMap<VertexId, Pin> = pins.into_iter().flatten().collect();
        let selected = try_join_all(needed.iter().map(|id| job.select(*id, &pins))).await?;
        let selected: HashMap<(VertexId, usize), Digest> = selected.into_iter().flatten().collect();
        Ok(Arc::new(Keyed::fold(job, needed, pins, selected)))
    }

    /// Walks down from the root and looks up; below a hit nothing is asked.
    async fn find(&self, job: &Arc<Job>, keyed: Arc<Keyed>) -> Result<Found, BuildError> {
        let (records, walker) = (self.records.clone(), job.clone());
        let found = tokio::task::spawn_blocking(move || walker.find(&keyed, records.as_ref()));
        found.await.unwrap_or_else(|_| Err(job.error(job.root.vertex, Failure::cancelled())))
    }

    async fn drive(&self, job: &Arc<Job>, keyed: &Arc<Keyed>, found: Found) -> Result<Value, BuildError> {
        let mut board = Board::new(job, found);
        let mut running = FuturesUnordered::new();
        let mut failed: Option<BuildError> = None;
        loop {
            if failed.is_none() {
                let ready = std::mem::take(&mut board.ready);
                running.extend(
                    ready.into_iter().map(|id| self.vertex(job, keyed, id, board.inputs_of(job, id))),
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
            None => Ok(board.value(job.root)),
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

/// The number by which progress knows a vertex.
pub fn step_of(id: VertexId) -> StepId {
    StepId(u32::try_from(id.index()).unwrap_or(u32::MAX))
}

/// Everything that one flight of a step needs, whoever waits for it.
struct StepRun {
    op: Arc<dyn Op>,
    inputs: Vec<Value>,
    parts: KeyParts,
    keyed: Arc<Keyed>,
    id: VertexId,
    fresh: bool,
    name: String,
    outputs: u32,
    permits: Arc<Semaphore>,
    records: Arc<dyn Records>,
}

impl StepRun {
    async fn fly(self, crowd: &Crowd) -> Result<Outputs, Cause> {
        let run = Arc::new(self);
        let result = run.clone().look_up_or_run(crowd).await;
        match &result {
            Ok((kind, _)) => crowd.report(kind.clone()),
            Err(Cause::Cancelled) => {}
            Err(cause) => crowd.report(EventKind::Failed(cause.to_string())),
        }
        result.map(|(_, outputs)| outputs)
    }

    async fn look_up_or_run(self: Arc<Self>, crowd: &Crowd) -> Result<(EventKind, Outputs), Cause> {
        // Inside the flight: whoever landed a moment ago on this key has saved before he left the map.
        if self.op.remembered() && !self.fresh {
            let this = self.clone();
            if let Some(outputs) = blocking(move || this.recall()).await? {
                return Ok((EventKind::Cached, outputs));
            }
        }
        let permit = tokio::select! {
            permit = self.permits.acquire() => permit.map_err(|_| Cause::Cancelled)?,
            () = crowd.cancel().cancelled() => return Err(Cause::Cancelled),
        };
        crowd.report(EventKind::Started);
        let outputs: Outputs = self.op.run(self.inputs.clone(), crowd).await?.into();
        drop(permit);
        if self.op.remembered() {
            let (this, layers) = (self.clone(), layers_of(&outputs));
            if let Err(cause) = blocking(move || this.save(&layers)).await {
                crowd.report(EventKind::Warning(format!("the result is not remembered: {cause}")));
            }
        }
        Ok((EventKind::Done, outputs))
    }

    fn recall(&self) -> Result<Option<Outputs>, Cause> {
        let Some(layers) = self.records.lookup(&self.parts.key(), self.outputs)? else { return Ok(None) };
        self.save(&layers)?;
        Ok(Some(layers.into_iter().map(Value::Layers).collect()))
    }

    fn save(&self, outputs: &[Layers]) -> Result<(), Cause> {
        let vertex = &self.keyed.vertices[&self.id];
        self.records.save(&NewRecord {
            definition: (&vertex.key, &vertex.parts),
            content: (&self.parts.key(), &self.parts),
            name: &self.name,
            outputs,
        })
    }
}

fn layers_of(outputs: &[Value]) -> Vec<Layers> {
    let layers = |value: &Value| match value {
        Value::Layers(layers) => Some(layers.clone()),
        Value::Files(_) => None,
    };
    outputs.iter().filter_map(layers).collect()
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

    /// Text that no other job has.
    fn salt(&self) -> String {
        format!("{:p}", Arc::as_ptr(&self.definition))
    }

    async fn pin(&self, id: VertexId) -> Result<Option<(VertexId, Pin)>, BuildError> {
        if !self.vertex(id).inputs.is_empty() {
            return Ok(None);
        }
        let pin = tokio::select! {
            pin = self.ops[id.index()].pin(&self.session) => pin,
            () = self.cancel.cancelled() => Err(Cause::Cancelled),
        };
        let pin = pin.map_err(|cause| self.error(id, self.told(id, cause)))?;
        if pin.as_ref().is_some_and(|pin| pin.value.is_some()) {
            self.tell(id, EventKind::Started);
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
        let mut stack = vec![self.root.vertex];
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

/// The definition keys of a job, and what they were made from.
struct Keyed {
    vertices: HashMap<VertexId, KeyedVertex>,
    pins: HashMap<VertexId, Pin>,
    selected: HashMap<(VertexId, usize), Digest>,
}

struct KeyedVertex {
    parts: KeyParts,
    key: CacheKey,
    /// Whether it must run anew, whatever is remembered.
    fresh: bool,
    /// Whether something below it must; a result by definition would then leave that out.
    tainted: bool,
}

impl Keyed {
    fn fold(
        job: &Job,
        needed: &[VertexId],
        pins: HashMap<VertexId, Pin>,
        selected: HashMap<(VertexId, usize), Digest>,
    ) -> Keyed {
        let mut keyed = Keyed { vertices: HashMap::with_capacity(needed.len()), pins, selected };
        for id in needed {
            let vertex = keyed.fold_one(job, *id);
            keyed.vertices.insert(*id, vertex);
        }
        keyed
    }

    fn fold_one(&self, job: &Job, id: VertexId) -> KeyedVertex {
        let vertex = job.vertex(id);
        let is_source = vertex.inputs.is_empty() && self.pins.contains_key(&id);
        let fresh = !is_source && (job.no_cache || vertex.meta.ignore_cache);
        let mut tainted = fresh;
        let mut inputs = Vec::with_capacity(vertex.inputs.len());
        for (number, edge) in vertex.inputs.iter().enumerate() {
            let below = &self.vertices[&edge.vertex];
            tainted |= below.tainted;
            inputs.push(match self.selected.get(&(id, number)) {
                Some(digest) => digest.clone(),
                None => below.key.output(edge.output),
            });
        }
        let parts = match self.pins.get(&id) {
            Some(pin) => KeyParts { kind: KeyKind::Source, op: pin.identity.clone(), inputs },
            None => KeyParts { kind: KeyKind::Definition, op: job.ops[id.index()].definition(), inputs },
        };
        let key = parts.key();
        KeyedVertex { parts, key, fresh, tainted }
    }

    fn value(&self, id: VertexId) -> Option<Value> {
        self.pins.get(&id)?.value.clone()
    }
}

/// What looking up by definition found.
#[derive(Default)]
struct Found {
    hits: HashMap<VertexId, Outputs>,
    missed: BTreeSet<VertexId>,
}

impl Found {
    fn knows(&self, id: VertexId) -> bool {
        self.hits.contains_key(&id) || self.missed.contains(&id)
    }
}

/// Which vertices have their results, and which may start.
struct Board {
    done: HashMap<VertexId, Outputs>,
    ready: Vec<VertexId>,
    waiting: HashMap<VertexId, usize>,
    users: HashMap<VertexId, Vec<VertexId>>,
}

impl Board {
    fn new(job: &Job, found: Found) -> Board {
        let mut board =
            Board { done: found.hits, ready: Vec::new(), waiting: HashMap::new(), users: HashMap::new() };
        for id in found.missed {
            let inputs: BTreeSet<VertexId> = job.vertex(id).inputs.iter().map(|edge| edge.vertex).collect();
            let open: Vec<_> = inputs.into_iter().filter(|input| !board.done.contains_key(input)).collect();
            match open.len() {
                0 => board.ready.push(id),
                count => drop(board.waiting.insert(id, count)),
            }
            open.into_iter().for_each(|input| board.users.entry(input).or_default().push(id));
        }
        board
    }

    fn done(&mut self, id: VertexId, outputs: Outputs) {
        self.done.insert(id, outputs);
        for user in self.users.remove(&id).unwrap_or_default() {
            let Some(count) = self.waiting.get_mut(&user) else { continue };
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&user);
                self.ready.push(user);
            }
        }
    }

    fn inputs_of(&self, job: &Job, id: VertexId) -> Vec<Value> {
        job.vertex(id).inputs.iter().map(|edge| self.value(*edge)).collect()
    }

    fn value(&self, edge: Edge) -> Value {
        let output = self.done.get(&edge.vertex).and_then(|outputs| outputs.get(edge.output as usize));
        output.cloned().unwrap_or_else(|| Value::Layers(Layers::scratch()))
    }
}

impl fmt::Debug for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Solver").field("flights", &self.flights).finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("root", &self.root).finish_non_exhaustive()
    }
}
