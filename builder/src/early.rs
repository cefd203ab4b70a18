//! Layers that an export will pack are packed from the moment they are there, while the steps after them run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use kiln_cache::{Growing, Lease};
use kiln_graph::{Definition, Edge, Vertex, VertexId};
use kiln_oci::Digest;
use kiln_oci::compression::Packing;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::build::BuildJob;
use crate::error::Cause;
use crate::export::Export;
use crate::export::options::ImageOptions;
use crate::flight::Crowd;
use crate::forms::base;
use crate::ops::{Op, Pin};
use crate::progress::Reporter;
use crate::session::Session;
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::{Layers, Value};

/// How many layers are packed at once while steps run.
const PARALLEL: usize = 2;

/// The packing of a build's layers while it runs.
pub(crate) struct Early {
    stores: Arc<Stores>,
    /// What each layer is packed with.
    packings: Vec<Packing>,
    /// The steps whose layers become part of an image, with the output that does.
    wanted: HashMap<VertexId, u32>,
    /// Keeps what is packed until the exports have it.
    lease: Arc<Lease>,
    permits: Arc<Semaphore>,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    tasks: JoinSet<()>,
    /// The blobs that are being packed.
    growing: HashMap<(Digest, Packing), Growing>,
    is_over: bool,
}

impl Early {
    /// What of `job` is packed early; `None` where no export packs layers as they are.
    pub(crate) fn of(stores: &Arc<Stores>, job: &BuildJob) -> Result<Option<Arc<Early>>, Cause> {
        let (mut packings, mut wanted) = (Vec::new(), HashMap::new());
        let others = job.others.iter().map(|product| (&product.targets, &product.exports));
        for (targets, exports) in std::iter::once((&job.targets, &job.exports)).chain(others) {
            let mut of_these = packings_of(exports);
            if of_these.is_empty() {
                continue;
            }
            packings.append(&mut of_these);
            for root in targets.iter().filter_map(|target| target.root) {
                add_stack(&job.definition, root, &mut wanted);
            }
        }
        packings.sort_unstable_by_key(|packing| (packing.compression() as u8, packing.level()));
        packings.dedup();
        if packings.is_empty() {
            return Ok(None);
        }
        let (stores, lease) = (stores.clone(), Arc::new(stores.store.leases.create()?));
        let (permits, work) = (Arc::new(Semaphore::new(PARALLEL)), Mutex::default());
        Ok(Some(Arc::new(Early { stores, packings, wanted, lease, permits, work })))
    }

    /// The ops of a job, in the order of its vertices, of which those that make layers of an image have them packed.
    pub(crate) fn wrap(self: &Arc<Self>, definition: &Definition, ops: Vec<Arc<dyn Op>>) -> Vec<Arc<dyn Op>> {
        let wrap = |((id, _), op): ((VertexId, &Vertex), Arc<dyn Op>)| -> Arc<dyn Op> {
            match self.wanted.get(&id) {
                Some(output) => Arc::new(Packed { op, early: self.clone(), output: *output as usize }),
                None => op,
            }
        };
        definition.vertices().zip(ops).map(wrap).collect()
    }

    /// What the layer of a step is packed with in one pass with its making.
    pub(crate) fn packing(&self, vertex: VertexId) -> Option<Packing> {
        self.wanted.get(&vertex).and_then(|_| self.packings.first()).copied()
    }

    /// Begins to pack the top one of `layers`.
    fn begin(self: &Arc<Self>, layers: &Layers) {
        for packing in self.packings.clone() {
            let (early, layers) = (self.clone(), layers.clone());
            let mut work = self.work();
            if !work.is_over {
                work.tasks.spawn(async move { early.pack(layers, packing).await });
            }
        }
    }

    async fn pack(self: Arc<Self>, layers: Layers, packing: Packing) {
        let Ok(_permit) = self.permits.clone().acquire_owned().await else { return };
        let packed = blocking(move || {
            let chain = layers.diff_ids();
            let Some(top) = chain.last() else { return Ok(()) };
            let key = (top.0.clone(), packing);
            let watch = |growing: Growing| {
                let mut work = self.work();
                if work.is_over {
                    growing.give_up();
                }
                work.growing.insert(key.clone(), growing);
            };
            let stored = &self.stores.store.layers;
            let packed = stored.watched_blob_of(&self.lease, &chain, chain.len() - 1, packing, watch);
            self.work().growing.remove(&key);
            Ok(packed.map(drop)?)
        });
        if let Err(error) = packed.await {
            // Whoever wants the blob packs it again, and says what is wrong.
            tracing::debug!(%error, "a layer was not packed early");
        }
    }

    /// Ends what is still being done. Nothing of it runs when this returns.
    pub(crate) async fn end(&self) {
        let mut tasks = {
            let mut work = self.work();
            work.is_over = true;
            work.growing.values().for_each(Growing::give_up);
            std::mem::take(&mut work.tasks)
        };
        self.permits.close();
        while tasks.join_next().await.is_some() {}
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What layers are packed with for `exports`, if that is how they stay.
fn packings_of(exports: &[Export]) -> Vec<Packing> {
    if !exports.iter().any(Export::packs) {
        return Vec::new();
    }
    let images = exports.iter().filter_map(Export::image);
    let as_they_are = images.filter(|image| !image.rewrite_timestamp && image.squash.is_none());
    as_they_are.map(ImageOptions::packing).collect()
}

/// Adds the steps whose layers lie on top of each other in `root`.
fn add_stack(definition: &Definition, root: Edge, wanted: &mut HashMap<VertexId, u32>) {
    let mut next = Some(root);
    while let Some(edge) = next {
        let vertex = definition.vertex(edge.vertex);
        if matches!(vertex.op, kiln_graph::Op::Exec(_) | kiln_graph::Op::File(_)) {
            wanted.insert(edge.vertex, edge.output);
        }
        next = base(vertex).and_then(|input| vertex.inputs.get(input as usize)).copied();
    }
}

/// An op whose layer is packed as soon as it is there.
struct Packed {
    op: Arc<dyn Op>,
    early: Arc<Early>,
    /// Which of its outputs that is.
    output: usize,
}

impl Op for Packed {
    fn definition(&self) -> Digest {
        self.op.definition()
    }

    fn content_definition(&self) -> Digest {
        self.op.content_definition()
    }

    fn pin<'a>(
        &'a self,
        session: &'a Session,
        reporter: &'a dyn Reporter,
    ) -> BoxFuture<'a, Result<Option<Pin>, Cause>> {
        self.op.pin(session, reporter)
    }

    fn content<'a>(&'a self, input: usize, value: &'a Value) -> BoxFuture<'a, Result<Digest, Cause>> {
        self.op.content(input, value)
    }

    fn run<'a>(&'a self, inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async move {
            let outputs = self.op.run(inputs, crowd).await?;
            if let Some(layers) = outputs.get(self.output).and_then(Value::layers) {
                self.early.begin(layers);
            }
            Ok(outputs)
        })
    }

    fn shows_files(&self) -> bool {
        self.op.shows_files()
    }

    fn remembered(&self) -> bool {
        self.op.remembered()
    }
}
