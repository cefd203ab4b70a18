//! One build: the graph solved, the result exported.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use kiln_graph::{Definition, Edge, VertexId};
use kiln_oci::{Compression, ImageConfig};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::error::{BuildError, Cause, Failure};
use crate::export::{Export, Exported, archive, files, image};
use crate::key::CacheKey;
use crate::ops;
use crate::progress::{Event, EventKind, ProgressSink, Reporter, StepId, StepReporter};
use crate::pull;
use crate::records::StoreRecords;
use crate::session::Session;
use crate::solver::{Job, Solver, blocking};
use crate::stores::Stores;
use crate::value::{Layers, Value};

/// Builds; one a process and state root, so that builds share the steps that they have in common.
#[derive(Debug)]
pub struct Builder {
    stores: Arc<Stores>,
    solver: Solver,
}

/// What is to be built.
pub struct BuildJob {
    /// The graph.
    pub definition: Arc<Definition>,
    /// The result's filesystem; `None` is the empty one.
    pub root: Option<Edge>,
    /// The result's configuration, with the whole history: the base's entries as they are, new ones without a time, those
    /// that make no layer marked. Its `diff_ids` are filled in by the build.
    pub config: ImageConfig,
    /// What becomes of the result, in order.
    pub exports: Vec<Export>,
    /// Who asks.
    pub session: Session,
    /// Who watches.
    pub progress: Arc<dyn ProgressSink>,
    /// How many steps run at once.
    pub jobs: usize,
    /// Whether nothing remembered is used.
    pub no_cache: bool,
    /// Replaces the times of what is new (`SOURCE_DATE_EPOCH`), in seconds.
    pub epoch: Option<i64>,
    /// Ends the build.
    pub cancel: CancellationToken,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct BuildOutput {
    /// The result's filesystem.
    pub layers: Layers,
    /// The images among the exports, in order.
    pub images: Vec<Exported>,
}

impl Builder {
    /// A builder over `stores`.
    pub fn new(stores: Arc<Stores>) -> Builder {
        let solver = Solver::new(Arc::new(StoreRecords::new(stores.store.clone())));
        Builder { stores, solver }
    }

    /// The handles that it works with.
    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// Builds. When it returns, in whichever way, nothing of it runs any more.
    pub async fn build(&self, job: BuildJob) -> Result<BuildOutput, BuildError> {
        let layers = match job.root {
            None => Layers::scratch(),
            Some(root) => self.solve(&job, root).await?,
        };
        let BuildJob { definition, config, exports, progress, epoch, .. } = job;
        let result = Arc::new(BuildResult { layers, config, epoch });
        let mut images = Vec::new();
        for (number, export) in (definition.len()..).zip(exports) {
            let step = StepId(u32::try_from(number).unwrap_or(u32::MAX));
            images.extend(self.export(&result, export, step, progress.as_ref()).await?);
        }
        Ok(BuildOutput { layers: result.layers.clone(), images })
    }

    /// The cache keys by definition of what the job needs, without building it.
    pub async fn keys(&self, job: &BuildJob) -> Result<Vec<(VertexId, CacheKey)>, BuildError> {
        match job.root {
            None => Ok(Vec::new()),
            Some(root) => self.solver.keys(self.job(job, root)).await,
        }
    }

    async fn solve(&self, job: &BuildJob, root: Edge) -> Result<Layers, BuildError> {
        match self.solver.solve(self.job(job, root)).await? {
            Value::Layers(layers) => Ok(layers),
            Value::Files(files) => {
                let cause = Cause::Invalid(format!("the local context `{}` is no image", files.name));
                Err(error("result", cause))
            }
        }
    }

    fn job(&self, job: &BuildJob, root: Edge) -> Job {
        Job {
            definition: job.definition.clone(),
            ops: ops::resolve_all(&self.stores, &job.definition),
            root,
            session: job.session.clone(),
            progress: job.progress.clone(),
            permits: Arc::new(Semaphore::new(job.jobs.clamp(1, Semaphore::MAX_PERMITS))),
            no_cache: job.no_cache,
            cancel: job.cancel.clone(),
        }
    }

    async fn export(
        &self,
        result: &Arc<BuildResult>,
        export: Export,
        step: StepId,
        progress: &dyn ProgressSink,
    ) -> Result<Option<Exported>, BuildError> {
        let name = export.name();
        let tell = |kind| progress.event(Event { at: SystemTime::now(), step, kind });
        tell(EventKind::Registered { name: name.to_owned(), digest: None, inputs: Vec::new(), stage: None });
        tell(EventKind::Started);
        let done = self.export_now(result, export, &StepReporter { sink: progress, step }).await;
        match &done {
            Ok(_) => tell(EventKind::Done),
            Err(cause) => tell(EventKind::Failed(cause.to_string())),
        }
        done.map_err(|cause| error(name, cause))
    }

    async fn export_now(
        &self,
        result: &Arc<BuildResult>,
        export: Export,
        reporter: &dyn Reporter,
    ) -> Result<Option<Exported>, Cause> {
        match &export {
            Export::CacheOnly => return Ok(None),
            // An image of the store may keep layers that are at a registry only.
            Export::Image { .. } => {}
            _ => pull::unpack(&self.stores, &result.layers, reporter).await?,
        }
        let (stores, result) = (self.stores.clone(), result.clone());
        blocking(move || result.export(&stores, export)).await
    }
}

/// What exporters work on.
struct BuildResult {
    layers: Layers,
    config: ImageConfig,
    epoch: Option<i64>,
}

impl BuildResult {
    fn export(&self, stores: &Stores, export: Export) -> Result<Option<Exported>, Cause> {
        let store = &stores.store;
        match export {
            Export::Image { names } => {
                let lease = store.leases.create()?;
                let composed = image::compose(
                    store,
                    &lease,
                    &self.layers,
                    &self.config,
                    image::Form::AsStored,
                    self.epoch,
                )?;
                image::store_image(store, &composed, &names).map(Some)
            }
            Export::Oci { names, dest } | Export::Docker { names, dest } => {
                let lease = store.leases.create()?;
                let form = image::Form::Packed(Compression::Gzip);
                let composed = image::compose(store, &lease, &self.layers, &self.config, form, self.epoch)?;
                archive::save(store, &composed, &names, dest)?;
                let config = image::id(&composed);
                Ok(Some(Exported { manifest: composed.descriptor, config, names: Vec::new() }))
            }
            Export::Local { dest } => files::to_directory(store, &self.layers, &dest).map(|()| None),
            Export::Tar { dest } => files::to_tar(store, &self.layers, self.epoch, dest).map(|()| None),
            Export::CacheOnly => Ok(None),
        }
    }
}

fn error(step: &str, cause: Cause) -> BuildError {
    BuildError { step: step.to_owned(), span: None, failure: Failure::of(cause) }
}

impl fmt::Debug for BuildJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildJob")
            .field("root", &self.root)
            .field("exports", &self.exports)
            .finish_non_exhaustive()
    }
}
