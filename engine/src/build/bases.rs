//! Base images: found in the store or at their registries, pinned to a digest.

use std::collections::BTreeSet;
use std::time::SystemTime;

use kiln_builder::progress::StepReporter;
use kiln_builder::{Event, EventKind, ProgressSink, StepId, pull};
use kiln_oci::{Platform, Reference};
use kiln_parser::{
    BaseConfigs, BaseImage, Dockerfile, Instruction, Lowered, Lowering, Plan, ResolvedBase, SourceFile, Span,
};

use super::BuildRequest;
use super::failure;
use super::findings::Findings;
use super::platforms::Platforms;
use crate::{Engine, Error, ErrorKind, Result};

/// Steps of kiln itself are numbered from here, far from vertices and exports.
pub(super) const FIRST_INTERNAL: u32 = 1 << 30;

/// The step that reads the Dockerfile.
pub(super) const DEFINITION_STEP: StepId = StepId(FIRST_INTERNAL);
/// Rounds of `ONBUILD` triggers that name further images.
const MAX_ROUNDS: usize = 16;

/// A step of kiln itself, as people see it; given up unless somebody says how it ended.
pub(super) struct Internal<'a> {
    progress: &'a dyn ProgressSink,
    id: StepId,
    ended: bool,
}

impl<'a> Internal<'a> {
    pub(super) fn start(progress: &'a dyn ProgressSink, number: u32, name: String) -> Self {
        let step = Internal { progress, id: StepId(FIRST_INTERNAL + number), ended: false };
        step.tell(EventKind::Registered { name, digest: None, inputs: Vec::new(), stage: None });
        step.tell(EventKind::Started);
        step
    }

    pub(super) fn id(&self) -> StepId {
        self.id
    }

    /// Tells how it ended.
    pub(super) fn end<T>(mut self, result: Result<T>) -> Result<T> {
        self.ended = true;
        self.tell(match &result {
            Ok(_) => EventKind::Done,
            Err(error) if error.kind == ErrorKind::Cancelled => EventKind::Cancelled,
            Err(error) => EventKind::Failed(error.chain()),
        });
        result
    }

    fn tell(&self, kind: EventKind) {
        self.progress.event(Event { at: SystemTime::now(), step: self.id, kind });
    }
}

impl Drop for Internal<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(EventKind::Cancelled);
        }
    }
}

/// Looks base images up and numbers what is seen of that.
pub(super) struct Resolver<'a> {
    engine: &'a Engine,
    request: &'a BuildRequest,
    platforms: &'a Platforms,
    progress: &'a dyn ProgressSink,
    steps: u32,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        request: &'a BuildRequest,
        platforms: &'a Platforms,
        progress: &'a dyn ProgressSink,
    ) -> Self {
        Resolver { engine, request, platforms, progress, steps: 0 }
    }

    /// Lowers every plan, with the images that they and the triggers of their bases name; their configurations are added
    /// to `configs`, complaints to `findings`.
    pub(super) async fn lower(
        &mut self,
        plans: &[Plan],
        configs: &mut BaseConfigs,
        dockerfile: &Dockerfile,
        file: &SourceFile,
        findings: &mut Findings,
    ) -> Result<Vec<Lowered>> {
        let mut wanted: BTreeSet<BaseImage> =
            plans.iter().flat_map(|plan| plan.base_images.iter().cloned()).collect();
        for _ in 0..MAX_ROUNDS {
            let images: Vec<BaseImage> = std::mem::take(&mut wanted).into_iter().collect();
            self.resolve(&images, configs, dockerfile, file).await?;
            let mut lowered = Vec::with_capacity(plans.len());
            for plan in plans {
                match plan.lower(configs).map_err(|errors| findings.fail(errors, file))? {
                    Lowering::Ready(ready) => lowered.push(*ready),
                    Lowering::NeedsMore(more) => wanted.extend(more),
                }
            }
            if wanted.is_empty() {
                return Ok(lowered);
            }
        }
        Err(Error::invalid("the ONBUILD triggers of the base images name images without end"))
    }

    /// Finds each of `wanted` and adds it to `configs`; asks registries for all at the same time.
    async fn resolve(
        &mut self,
        wanted: &[BaseImage],
        configs: &mut BaseConfigs,
        dockerfile: &Dockerfile,
        file: &SourceFile,
    ) -> Result<()> {
        let first = self.steps + 1;
        self.steps += wanted.len() as u32;
        let this = &*self;
        let look_ups = wanted.iter().zip(first..).map(|(image, number)| async move {
            this.find(image, number).await.map_err(|error| {
                let span = span_of(dockerfile, &image.reference);
                failure::of_base(error, &image.reference, dockerfile, span, file)
            })
        });
        let found = futures_util::future::try_join_all(look_ups).await?;
        for (image, found) in wanted.iter().zip(found) {
            configs.insert(image.clone(), found);
        }
        Ok(())
    }

    async fn find(&self, image: &BaseImage, number: u32) -> Result<ResolvedBase> {
        let reference = self.request.outside.decide_image(&image.reference, &image.platform)?;
        let image = &BaseImage { reference, platform: image.platform.clone() };
        let here = self.local(image)?;
        if let Local::Fits(found) = here {
            return Ok(*found);
        }
        let platform =
            if self.platforms.multi { format!("{} ", image.platform.format_all()) } else { String::new() };
        let step = Internal::start(
            self.progress,
            number,
            format!("[{platform}internal] load metadata for {}", image.reference),
        );
        let reporter = StepReporter { sink: self.progress, step: step.id };
        let stores = &self.engine.stores();
        let found = pull::resolve(stores, &image.reference, &image.platform, &reporter).await;
        let found = step.end(found.map_err(|cause| here.explain(failure::of_cause(&cause))))?;
        Ok(ResolvedBase { reference: found.reference, config: found.config })
    }

    /// The image as it is in the store, unless registries are to be asked anyway.
    fn local(&self, image: &BaseImage) -> Result<Local> {
        let stores = &self.engine.stores();
        let Some(root) = stores.store.images.get(&image.reference.to_string())? else {
            return Ok(Local::None);
        };
        if self.request.pull {
            return Ok(Local::None);
        }
        Ok(match pull::local(stores, &image.reference, &root, &image.platform) {
            Ok(found) if self.platforms.take(&found.config.platform, &image.platform) => {
                Local::Fits(Box::new(ResolvedBase { reference: found.reference, config: found.config }))
            }
            // For another platform than the one that is here the registry is asked.
            Ok(found) => Local::IsFor(found.config.platform),
            Err(_) => Local::None,
        })
    }
}

/// What the store has of an image.
enum Local {
    None,
    /// What is wanted.
    Fits(Box<ResolvedBase>),
    /// The image for another platform.
    IsFor(Platform),
}

impl Local {
    /// Says of an error of the registry why what is here did not do.
    fn explain(&self, mut error: Error) -> Error {
        if let Local::IsFor(platform) = self {
            let hint = || format!("the image of that name that is here is for `{platform}`");
            error.hint.get_or_insert_with(hint);
        }
        error
    }
}

/// The instruction that names an image: a FROM, else a `--from`, else the first FROM that names it by an argument.
fn span_of(dockerfile: &Dockerfile, image: &Reference) -> Option<Span> {
    let names =
        |text: &str| text.parse::<Reference>().is_ok_and(|written| written.with_default_tag() == *image);
    let stages = &dockerfile.stages;
    let from = stages.iter().find(|stage| names(&stage.from.image)).map(|stage| stage.span);
    let takes = |instruction: &Instruction| match instruction {
        Instruction::Copy(copy) => copy.from.as_deref().is_some_and(names),
        Instruction::Run(run) => {
            let mut options = run.mounts.iter().flat_map(|mount| mount.split(','));
            options.any(|option| option.strip_prefix("from=").is_some_and(names))
        }
        _ => false,
    };
    let taker = || stages.iter().flat_map(|stage| &stage.instructions).find(|node| takes(&node.instruction));
    let with_argument = || stages.iter().find(|stage| stage.from.image.contains('$'));
    from.or_else(|| taker().map(|node| node.span)).or_else(|| with_argument().map(|stage| stage.span))
}
