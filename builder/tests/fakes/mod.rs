//! Steps that only pretend, and a memory that counts the questions it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use kiln_builder::flight::Crowd;
use kiln_builder::ops::{Op, Pin};
use kiln_builder::session::Session;
use kiln_builder::solver::{Job, NewRecord, Records, Solver};
use kiln_builder::{
    CacheKey, Cause, Event, EventKind, Layers, LogStream, ProgressSink, Reporter, Silent, Value,
};
use kiln_cache::LayerRef;
use kiln_graph::{Definition, Edge, ExecOp, VertexId, VertexMeta};
use kiln_oci::{DiffId, Digest, Platform};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Everything that the pretended steps share.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) questions: AtomicUsize,
    pub(crate) most_at_once: AtomicUsize,
    at_once: AtomicUsize,
    runs: Mutex<Vec<String>>,
    cancelled: Mutex<Vec<String>>,
    texts: Mutex<BTreeMap<Digest, String>>,
    lost: Mutex<BTreeSet<Digest>>,
    healed: Mutex<bool>,
    gates: Mutex<BTreeMap<String, watch::Sender<bool>>>,
    memory: Mutex<BTreeMap<Digest, Layers>>,
}

impl World {
    pub(crate) fn new() -> Arc<World> {
        Arc::default()
    }

    pub(crate) fn solver(self: &Arc<Self>) -> Solver {
        Solver::new(Arc::new(Memory(self.clone())))
    }

    /// A filesystem that holds `text`.
    fn value(&self, text: &str) -> Value {
        let digest = Digest::of(text.as_bytes());
        self.texts.lock().unwrap().insert(digest.clone(), text.to_owned());
        Value::Layers(Layers::new(vec![LayerRef { diff_id: DiffId(digest), size: 1 }]))
    }

    pub(crate) fn text(&self, value: &Value) -> String {
        self.texts.lock().unwrap()[&value.digest()].clone()
    }

    pub(crate) fn sorted_runs(&self) -> Vec<String> {
        let mut runs = self.runs.lock().unwrap().clone();
        runs.sort();
        runs
    }

    pub(crate) fn cancelled(&self) -> Vec<String> {
        self.cancelled.lock().unwrap().clone()
    }

    /// Forgets what was run and asked; results stay.
    pub(crate) fn forget_history(&self) {
        self.runs.lock().unwrap().clear();
        self.questions.store(0, Ordering::SeqCst);
    }

    /// Failing steps succeed from now on.
    pub(crate) fn heal(&self) {
        *self.healed.lock().unwrap() = true;
    }

    /// The result `text` can no longer be had.
    pub(crate) fn lose(&self, text: &str) {
        self.lost.lock().unwrap().insert(Digest::of(text.as_bytes()));
    }

    /// The step `name` does not end before it is released.
    pub(crate) fn hold(&self, name: &str) {
        self.gates.lock().unwrap().insert(name.to_owned(), watch::channel(false).0);
    }

    pub(crate) fn release(&self, name: &str) {
        self.gates.lock().unwrap()[name].send_replace(true);
    }

    /// Waits until the step `name` runs.
    pub(crate) async fn started(&self, name: &str) {
        while !self.runs.lock().unwrap().iter().any(|run| run == name) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn pass_gate(&self, name: &str, crowd: &Crowd) -> Result<(), Cause> {
        let gate = self.gates.lock().unwrap().get(name).map(watch::Sender::subscribe);
        let Some(mut gate) = gate else { return Ok(()) };
        tokio::select! {
            () = async { drop(gate.wait_for(|open| *open).await) } => Ok(()),
            () = crowd.cancel().cancelled() => {
                // Taking down takes a moment; whoever cancelled waits for it.
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.cancelled.lock().unwrap().push(name.to_owned());
                Err(Cause::Cancelled)
            }
        }
    }
}

/// Remembers in memory.
struct Memory(Arc<World>);

impl Records for Memory {
    fn lookup(&self, key: &CacheKey, outputs: u32) -> Result<Option<Vec<Layers>>, Cause> {
        self.0.questions.fetch_add(1, Ordering::SeqCst);
        let memory = self.0.memory.lock().unwrap();
        let found: Option<Vec<Layers>> =
            (0..outputs).map(|output| memory.get(&key.output(output)).cloned()).collect();
        let lost = self.0.lost.lock().unwrap();
        Ok(found.filter(|found| !found.iter().any(|layers| lost.contains(&layers.digest()))))
    }

    fn save(&self, record: &NewRecord<'_>) -> Result<(), Cause> {
        let mut memory = self.0.memory.lock().unwrap();
        for (output, layers) in (0..).zip(record.outputs) {
            memory.insert(record.definition.0.output(output), layers.clone());
            memory.insert(record.content.0.output(output), layers.clone());
        }
        Ok(())
    }
}

/// What a pretended step does.
#[derive(Clone)]
pub(crate) struct Step {
    name: String,
    output: Option<String>,
    reads: Option<String>,
    fails: bool,
    panics: bool,
    slow: bool,
    fresh: bool,
    identity: Option<String>,
}

impl Step {
    pub(crate) fn named(name: &str) -> Step {
        let name = name.to_owned();
        Step {
            name,
            output: None,
            reads: None,
            fails: false,
            panics: false,
            slow: false,
            fresh: false,
            identity: None,
        }
    }

    /// Always makes `text`.
    pub(crate) fn making(self, text: &str) -> Step {
        Step { output: Some(text.to_owned()), ..self }
    }

    /// Uses only the words of its inputs that start with `prefix`.
    pub(crate) fn reading(self, prefix: &str) -> Step {
        Step { reads: Some(prefix.to_owned()), ..self }
    }

    pub(crate) fn failing(self) -> Step {
        Step { fails: true, ..self }
    }

    pub(crate) fn panicking(self) -> Step {
        Step { panics: true, ..self }
    }

    pub(crate) fn slow(self) -> Step {
        Step { slow: true, ..self }
    }

    pub(crate) fn ignoring_cache(self) -> Step {
        Step { fresh: true, ..self }
    }
}

/// A graph of pretended steps.
pub(crate) struct Graph {
    world: Arc<World>,
    definition: Definition,
    ops: Vec<Arc<dyn Op>>,
}

impl Graph {
    pub(crate) fn new(world: &Arc<World>) -> Graph {
        Graph { world: world.clone(), definition: Definition::new(), ops: Vec::new() }
    }

    pub(crate) fn source(&mut self, name: &str) -> VertexId {
        self.source_of(name, name)
    }

    /// A source that is `identity`, whatever it is called.
    pub(crate) fn source_of(&mut self, name: &str, identity: &str) -> VertexId {
        let step = Step { identity: Some(identity.to_owned()), ..Step::named(name) };
        self.step(step.making(identity), &[])
    }

    pub(crate) fn step(&mut self, step: Step, inputs: &[VertexId]) -> VertexId {
        let root = (!inputs.is_empty()).then_some(0);
        let exec = ExecOp::new(vec![step.name.clone()], Platform::new("linux", "amd64", None), root);
        let edges: Vec<Edge> = inputs.iter().map(|input| input.output()).collect();
        let meta = VertexMeta { ignore_cache: step.fresh, ..VertexMeta::named(&step.name) };
        self.ops.push(Arc::new(Pretend { world: self.world.clone(), step }));
        self.definition.add(kiln_graph::Op::Exec(exec), edges, meta).unwrap()
    }
}

struct Pretend {
    world: Arc<World>,
    step: Step,
}

impl Pretend {
    /// The part of an input that the step uses.
    fn part(&self, value: &Value) -> String {
        let text = self.world.text(value);
        match &self.step.reads {
            Some(prefix) => text.split(' ').filter(|word| word.starts_with(prefix)).collect(),
            None => text,
        }
    }

    async fn work(&self, inputs: &[Value], crowd: &Crowd) -> Result<Value, Cause> {
        let name = &self.step.name;
        let log = |text: String| EventKind::Log { stream: LogStream::Stdout, bytes: text.into_bytes() };
        crowd.report(log(format!("first words of {name}\n")));
        self.world.runs.lock().unwrap().push(name.clone());
        self.world.pass_gate(name, crowd).await?;
        if self.step.slow {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert!(!self.step.panics, "a defect");
        if self.step.fails && !*self.world.healed.lock().unwrap() {
            crowd.report(log(format!("last words of {name}\n")));
            return Err(Cause::Exit { command: name.clone(), code: 1, oom_killed: false });
        }
        let parts: Vec<String> = inputs.iter().map(|input| self.part(input)).collect();
        let made = format!("{name}({})", parts.join(","));
        Ok(self.world.value(self.step.output.as_ref().unwrap_or(&made)))
    }
}

impl Op for Pretend {
    fn definition(&self) -> Digest {
        Digest::of(self.step.name.as_bytes())
    }

    fn pin<'a>(
        &'a self,
        _session: &'a Session,
        _reporter: &'a dyn Reporter,
    ) -> BoxFuture<'a, Result<Option<Pin>, Cause>> {
        let pin = |identity: &String| Pin { identity: Digest::of(identity.as_bytes()), value: None };
        Box::pin(async move { Ok(self.step.identity.as_ref().map(pin)) })
    }

    fn content<'a>(&'a self, _input: usize, value: &'a Value) -> BoxFuture<'a, Result<Digest, Cause>> {
        Box::pin(async move { Ok(Digest::of(self.part(value).as_bytes())) })
    }

    fn run<'a>(&'a self, inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async move {
            let now = self.world.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.world.most_at_once.fetch_max(now, Ordering::SeqCst);
            let made = self.work(&inputs, crowd).await;
            self.world.at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(vec![made?])
        })
    }

    fn remembered(&self) -> bool {
        self.step.identity.is_none()
    }
}

/// A job for the last vertex of `graph`.
pub(crate) fn job(graph: Graph) -> Job {
    job_for(graph, Arc::new(Silent))
}

pub(crate) fn job_watched(graph: Graph, recorder: &Arc<Recorder>) -> Job {
    job_for(graph, recorder.clone())
}

fn job_for(graph: Graph, progress: Arc<dyn ProgressSink>) -> Job {
    let last = graph.definition.vertices().last().unwrap().0;
    Job {
        definition: Arc::new(graph.definition),
        ops: graph.ops,
        roots: vec![last.output()],
        session: Session::empty(),
        progress,
        permits: Arc::new(Semaphore::new(4)),
        no_cache: false,
        explain: false,
        cancel: CancellationToken::new(),
    }
}

/// Keeps every event.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Event>>);

impl ProgressSink for Recorder {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    pub(crate) fn new() -> Arc<Recorder> {
        Arc::default()
    }

    fn of(&self, step: u32) -> Vec<EventKind> {
        let events = self.0.lock().unwrap();
        events.iter().filter(|event| event.step.0 == step).map(|event| event.kind.clone()).collect()
    }

    pub(crate) fn last(&self, step: u32) -> Option<EventKind> {
        self.of(step).pop()
    }

    pub(crate) fn logs(&self, step: u32) -> String {
        let log = |kind| match kind {
            EventKind::Log { bytes, .. } => String::from_utf8(bytes).unwrap(),
            _ => String::new(),
        };
        self.of(step).into_iter().map(log).collect()
    }

    pub(crate) async fn wait_for(&self, step: u32, wanted: impl Fn(&EventKind) -> bool) {
        while !self.of(step).iter().any(&wanted) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
