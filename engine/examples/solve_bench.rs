//! Time of every part of a build that is not a step's own work, against the size of the graph: `cargo xtask solve-bench`.
//!
//! The steps only pretend: each puts one more layer on its first input.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_builder::flight::Crowd;
use kiln_builder::ops::{Op, Pin};
use kiln_builder::session::Session;
use kiln_builder::solver::{Job, NewRecord, Records, Solver};
use kiln_builder::{CacheKey, Cause, Layers, Reporter, Silent, Value};
use kiln_cache::LayerRef;
use kiln_oci::{DiffId, Digest, Platform};
use kiln_parser::{BaseConfigs, Lowered, Lowering, Plan, PlanOptions, SourceFile, parse};
use tokio::sync::Semaphore;

type Failure = Box<dyn std::error::Error + Send + Sync>;
/// An operation as the solver runs it.
type Ran<'a> = futures_util::future::BoxFuture<'a, Result<Vec<Value>, Cause>>;

/// Linear time means that each size takes twice as long as the one before.
const SIZES: [usize; 3] = [1_250, 2_500, 5_000];

/// The name of a shape, and its Dockerfile with so many steps.
type NamedShape = (&'static str, fn(usize) -> String);

const SHAPES: [NamedShape; 3] = [("chain", chain), ("diamonds", diamonds), ("fan", fan)];

/// Each step on the one before.
fn chain(size: usize) -> String {
    let steps: String = (0..size).map(|n| format!("RUN step {n}\n")).collect();
    format!("FROM scratch\n{steps}")
}

/// Stages of a copy from each of the two before: as many ways from top to bottom as there are sums of two.
fn diamonds(size: usize) -> String {
    let stages = (size / 3).min(999);
    let stage = |n: usize| {
        let from = |below: usize| match n.checked_sub(below) {
            Some(below) => format!("COPY --from=s{below} /a /{below}\n"),
            None => String::new(),
        };
        let steps: String =
            (0..(size / stages).saturating_sub(2)).map(|step| format!("RUN step {n} {step}\n")).collect();
        format!("FROM scratch AS s{n}\n{}{}{steps}", from(1), from(2))
    };
    (0..stages).map(stage).collect()
}

/// Many stages, and one that takes from all.
fn fan(size: usize) -> String {
    let stages = (size / 2).min(999);
    let steps = size / stages - 1;
    let stage = |n| {
        let steps: String = (0..steps).map(|step| format!("RUN step {n} {step}\n")).collect();
        format!("FROM scratch AS s{n}\n{steps}")
    };
    let copies: String = (0..stages).map(|n| format!("COPY --from=s{n} /a /{n}\n")).collect();
    (0..stages).map(stage).chain([format!("FROM scratch\n{copies}")]).collect()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let columns = ["parse", "plan, lower", "solve", "solve again", "diff IDs", "drop"];
    println!("{:<10}{:>9}{}", "", "vertices", columns.map(|column| format!("{column:>14}")).concat());
    for (name, shape) in SHAPES {
        for size in SIZES {
            let (vertices, times) = measure(shape(size)).await?;
            let times = times.map(|time| format!("{:>11.2} ms", time.as_secs_f64() * 1e3));
            println!("{name:<10}{vertices:>9}{}", times.concat());
        }
    }
    Ok(())
}

async fn measure(text: String) -> Result<(usize, [Duration; 6]), Failure> {
    let source = SourceFile::new("Dockerfile", text);
    let ((dockerfile, _), parsing) = timed(|| parse(&source));
    let (lowered, lowering) = timed(|| {
        let plan = Plan::new(&dockerfile, &PlanOptions::new(Platform::host())).map_err(told)?;
        match plan.lower(&BaseConfigs::new()).map_err(told)? {
            Lowering::Ready(lowered) => Ok(lowered),
            Lowering::NeedsMore(_) => Err(Failure::from("a base image")),
        }
    });
    let Lowered { definition, root, .. } = *lowered?;
    let (definition, root) = (Arc::new(definition), root.ok_or("no root")?);
    let memory = Arc::new(Memory::default());
    let solver = Solver::new(memory.clone());
    let job = || Job {
        definition: definition.clone(),
        ops: definition
            .vertices()
            .map(|(_, vertex)| Arc::new(Pretend(vertex.op.digest())) as Arc<dyn Op>)
            .collect(),
        roots: vec![root],
        session: Session::empty(),
        progress: Arc::new(Silent),
        permits: Arc::new(Semaphore::new(2)),
        no_cache: false,
        explain: false,
        cancel: kiln_engine::CancellationToken::new(),
    };
    let (first, second) = (job(), job());
    let start = Instant::now();
    solver.solve(first).await?;
    let solving = start.elapsed();
    let start = Instant::now();
    let values = solver.solve(second).await?;
    let again = start.elapsed();
    let layers = values[0].layers().ok_or("no layers")?.clone();
    let vertices = definition.len();
    let (_, listing) = timed(|| layers.diff_ids());
    let ((), dropping) = timed(|| drop((values, layers, solver, memory, definition, dockerfile)));
    Ok((vertices, [parsing, lowering, solving, again, listing, dropping]))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed())
}

fn told(diagnostics: Vec<kiln_parser::Diagnostic>) -> Failure {
    format!("{diagnostics:?}").into()
}

/// A step that puts one layer on its first input.
struct Pretend(Digest);

impl Op for Pretend {
    fn definition(&self) -> Digest {
        self.0.clone()
    }

    fn pin<'a>(
        &'a self,
        _session: &'a Session,
        _reporter: &'a dyn Reporter,
    ) -> futures_util::future::BoxFuture<'a, Result<Option<Pin>, Cause>> {
        Box::pin(async { Ok(None) })
    }

    fn run<'a>(&'a self, inputs: Vec<Value>, _crowd: &'a Crowd) -> Ran<'a> {
        let below = inputs.first().and_then(Value::layers).cloned().unwrap_or_else(Layers::scratch);
        let layer = LayerRef { diff_id: DiffId(self.0.clone()), size: 1 };
        Box::pin(async move { Ok(vec![Value::Layers(below.push(layer, None))]) })
    }
}

/// Remembers in memory.
#[derive(Default)]
struct Memory(Mutex<HashMap<Digest, Layers>>);

impl Records for Memory {
    fn lookup(&self, key: &CacheKey, outputs: u32) -> Result<Option<Vec<Layers>>, Cause> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((0..outputs).map(|output| memory.get(&key.output(output)).cloned()).collect())
    }

    fn save(&self, record: &NewRecord<'_>) -> Result<(), Cause> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (output, layers) in (0..).zip(record.outputs) {
            memory.insert(record.definition.0.output(output), layers.clone());
            memory.insert(record.content.0.output(output), layers.clone());
        }
        Ok(())
    }
}
