//! One build: the graph solved, the results exported.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use kiln_graph::{Definition, Edge, VertexId};
use kiln_oci::{ImageConfig, Platform};
use kiln_registry_client::Client;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::attest::{Attest, Saying};
use crate::early::Early;
use crate::entitlements::Entitlements;
use crate::error::{BuildError, Cause};
use crate::export::{Built, Export, Exported, Image, deliver};
use crate::key::CacheKey;
use crate::ops::{self, Op};
use crate::progress::{Event, EventKind, ProgressSink, Reporter, StepId, StepReporter};
use crate::records::StoreRecords;
use crate::session::Session;
use crate::solver::{Job, Solver};
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
    /// The graph of all targets.
    pub definition: Arc<Definition>,
    /// What is made of it: one image, or one for each platform.
    pub targets: Vec<Target>,
    /// Whether the result is an index of images even where there is one, and files go to a folder a platform.
    pub multi_platform: bool,
    /// What becomes of the result, in order.
    pub exports: Vec<Export>,
    /// What else is made of the graph in the same go.
    pub others: Vec<Product>,
    /// What is said about the images.
    pub attest: Attest,
    /// Who asks.
    pub session: Session,
    /// What its steps may do beyond the ordinary.
    pub allow: Entitlements,
    /// Who watches.
    pub progress: Arc<dyn ProgressSink>,
    /// How many steps run at once.
    pub jobs: usize,
    /// Whether nothing remembered is used.
    pub no_cache: bool,
    /// Whether it is told why steps run.
    pub explain: bool,
    /// Replaces the times of what is new (`SOURCE_DATE_EPOCH`), in seconds.
    pub epoch: Option<i64>,
    /// Ends the build.
    pub cancel: CancellationToken,
}

/// A further result of a build: what a job's `targets` and `exports` are for the first.
#[derive(Debug, Default)]
pub struct Product {
    /// What is made: one image, or one for each platform.
    pub targets: Vec<Target>,
    /// What becomes of it, in order.
    pub exports: Vec<Export>,
}

/// One image that is to be built.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it is for.
    pub platform: Platform,
    /// Its filesystem; `None` is the empty one.
    pub root: Option<Edge>,
    /// Its configuration, with the whole history: the base's entries as they are, new ones without a time, those that
    /// make no layer marked. Its `diff_ids` are filled in by the build.
    pub config: ImageConfig,
    /// How many of its lowest layers are its base image's.
    pub base_layers: usize,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct BuildOutput {
    /// The images among the exports, in order.
    pub images: Vec<Exported>,
    /// What was said of the images that were made, whatever became of them.
    pub statements: Vec<Said>,
}

/// Something that a build says of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What the image is for.
    pub platform: Platform,
    /// What the predicate is: a URI.
    pub predicate_type: &'static str,
    /// What is said, as JSON.
    pub predicate: String,
}

fn said(image: &Image) -> impl Iterator<Item = Said> {
    image.attestations.iter().map(|attestation| Said {
        platform: image.platform.clone(),
        predicate_type: attestation.predicate_type,
        predicate: attestation.predicate.get().to_owned(),
    })
}

impl Builder {
    /// A builder over `stores`.
    pub fn new(stores: Arc<Stores>) -> Builder {
        let solver = Solver::new(Arc::new(StoreRecords::new(stores.store.clone())));
        Builder { stores, solver }
    }

    /// A builder that asks registries as `client` and shares everything else with this one, steps that run included.
    pub fn with_client(&self, client: Client) -> Builder {
        let stores = Arc::new(Stores { client, ..(*self.stores).clone() });
        Builder { stores, solver: self.solver.clone() }
    }

    /// The handles that it works with.
    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// Builds. When it returns, in whichever way, nothing of it runs any more.
    pub async fn build(&self, job: BuildJob) -> Result<BuildOutput, BuildError> {
        let early = Early::of(&self.stores, &job).map_err(|cause| BuildError::of("exporting", cause))?;
        let built = async {
            let layers = self.solve_with(&job, early.as_ref()).await?;
            self.finish(job, layers).await
        };
        let built = built.await;
        if let Some(early) = &early {
            early.end().await;
        }
        built
    }

    /// Exports the filesystems that [`Builder::solve`] gave for the same job.
    pub async fn finish(&self, job: BuildJob, layers: Vec<Layers>) -> Result<BuildOutput, BuildError> {
        let BuildJob { definition, targets, multi_platform, exports, others, progress, epoch, .. } = job;
        let mut layers = layers.into_iter();
        let (attest, materials) = (job.attest, job.session.materials);
        let image = |(target, layers): (&Target, Layers)| Image {
            platform: target.platform.clone(),
            layers,
            base: target.base_layers,
            config: target.config.clone(),
            attestations: Vec::new(),
        };
        let mut steps = (definition.len()..).map(|number| StepId(u32::try_from(number).unwrap_or(u32::MAX)));
        let (mut images, mut statements) = (Vec::new(), Vec::new());
        for Product { targets, exports } in std::iter::once(Product { targets, exports }).chain(others) {
            let mut built: Vec<Image> = targets.iter().zip(layers.by_ref()).map(image).collect();
            let attest = attest.named_by(&exports);
            if !attest.is_empty() {
                let step = steps.next().unwrap_or(StepId(u32::MAX));
                let saying =
                    Saying { attest: &attest, definition: &definition, materials: &materials, epoch };
                self.attest(saying, &targets, &mut built, &StepReporter { sink: progress.as_ref(), step })
                    .await?;
            }
            statements.extend(built.iter().flat_map(said));
            let result = Built::new(&self.stores.store, built, multi_platform, epoch, attest, &exports);
            let result = Arc::new(result.map_err(|cause| BuildError::of("exporting", cause))?);
            for (export, step) in exports.into_iter().zip(steps.by_ref()) {
                images.extend(self.export(&result, export, step, &progress).await?);
            }
        }
        Ok(BuildOutput { images, statements })
    }

    /// The cache keys by definition of what the job needs, without building it.
    pub async fn keys(&self, job: &BuildJob) -> Result<Vec<(VertexId, CacheKey)>, BuildError> {
        match self.job(job, None) {
            None => Ok(Vec::new()),
            Some(job) => self.solver.keys(job).await,
        }
    }

    /// The filesystem of each target, of the other products too, with nothing exported yet.
    pub async fn solve(&self, job: &BuildJob) -> Result<Vec<Layers>, BuildError> {
        self.solve_with(job, None).await
    }

    async fn solve_with(
        &self,
        job: &BuildJob,
        early: Option<&Arc<Early>>,
    ) -> Result<Vec<Layers>, BuildError> {
        job.allow.check(&job.definition, &self.stores.cdi_dirs)?;
        let solved = match self.job(job, early) {
            None => Vec::new(),
            Some(job) => self.solver.solve(job).await?,
        };
        let mut solved = solved.into_iter();
        let layers = |target: &Target| match target.root.and_then(|_| solved.next()) {
            None => Ok(Layers::scratch()),
            Some(Value::Layers(layers)) => Ok(layers),
            Some(Value::Files(files)) => {
                let cause = Cause::Invalid(format!("the local context `{}` is no image", files.name));
                Err(BuildError::of("result", cause))
            }
        };
        job.all_targets().map(layers).collect()
    }

    /// The question to the solver; none where every target is empty.
    fn job(&self, job: &BuildJob, early: Option<&Arc<Early>>) -> Option<Job> {
        let roots: Vec<Edge> = job.all_targets().filter_map(|target| target.root).collect();
        (!roots.is_empty()).then(|| Job {
            definition: job.definition.clone(),
            ops: self.ops(&job.definition, early),
            roots,
            session: job.session.clone(),
            progress: job.progress.clone(),
            permits: Arc::new(Semaphore::new(job.jobs.clamp(1, Semaphore::MAX_PERMITS))),
            no_cache: job.no_cache,
            explain: job.explain,
            cancel: job.cancel.clone(),
        })
    }

    fn ops(&self, definition: &Definition, early: Option<&Arc<Early>>) -> Vec<Arc<dyn Op>> {
        let packing = |vertex| early.and_then(|early| early.packing(vertex));
        let ops = ops::resolve_all(&self.stores, definition, packing);
        match early {
            Some(early) => early.wrap(definition, ops),
            None => ops,
        }
    }

    async fn export(
        &self,
        result: &Arc<Built>,
        export: Export,
        step: StepId,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Option<Exported>, BuildError> {
        let name = export.name();
        let tell = |kind| progress.event(Event { at: SystemTime::now(), step, kind });
        tell(EventKind::Registered { name: name.to_owned(), digest: None, inputs: Vec::new(), stage: None });
        tell(EventKind::Started);
        let reporter: Arc<dyn Reporter> = Arc::new(ExportReporter { sink: progress.clone(), step });
        let done = deliver(&self.stores, result, export, &reporter).await;
        match &done {
            Ok(_) => tell(EventKind::Done),
            Err(cause) => tell(EventKind::Failed(cause.to_string())),
        }
        done.map_err(|cause| BuildError::of(name, cause))
    }
}

impl BuildJob {
    fn all_targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().chain(self.others.iter().flat_map(|product| &product.targets))
    }
}

/// The reporter of an export, which outlives the call that made it.
struct ExportReporter {
    sink: Arc<dyn ProgressSink>,
    step: StepId,
}

impl Reporter for ExportReporter {
    fn report(&self, kind: EventKind) {
        self.sink.event(Event { at: SystemTime::now(), step: self.step, kind });
    }
}

impl fmt::Debug for BuildJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildJob")
            .field("targets", &self.targets)
            .field("exports", &self.exports)
            .finish_non_exhaustive()
    }
}
