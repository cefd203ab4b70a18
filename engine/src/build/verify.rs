//! Whether a build is reproducible: it is done twice from nothing, and the results are compared.
//!
//! The Dockerfile, contexts and cache directories are those of both builds; base images are looked up by both, and everything
//! that a step makes is made anew. Configurations come from these alone and are compared before the second build, layers after it.

mod image;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_builder::{BuildJob, Event, EventKind, Layers, ProgressSink, Silent, StepId};
use kiln_cache::Store;
use kiln_graph::VertexId;
use kiln_oci::{DiffId, Platform};
use kiln_parser::Span;
use kiln_parser::diagnostic::excerpt;
use kiln_snapshot::compare::compare;

pub use image::ImageDivergence;
pub use kiln_snapshot::compare::{Attribute, Difference};

use super::{BuildRequest, BuildResult, Export, Prepared, failure};
use crate::{CancellationToken, Engine, Error, ErrorKind, Result};

/// Steps of the second build are numbered from here, between those of the first and kiln's own.
const SECOND: u32 = 1 << 28;
/// What is said before the names of its steps.
const AGAIN: &str = "again: ";

/// What two builds of the same came to.
#[derive(Debug)]
pub enum Verified {
    /// They made the same, which was then exported as a build does it.
    Same(BuildResult),
    /// They did not, and nothing was exported.
    Different(Box<Divergence>),
}

/// Where two builds of the same differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Divergence {
    /// In a layer.
    Layer(LayerDivergence),
    /// In what an image is beside its layers.
    Image(ImageDivergence),
}

/// Where the layers of two builds of the same differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDivergence {
    /// The platform, where the build is for several.
    pub platform: Option<Platform>,
    /// The layer, from 1.
    pub layer: usize,
    /// How many layers there are.
    pub layers: usize,
    /// The step that made the layer, as progress shows it.
    pub step: String,
    /// The Dockerfile, and the lines of the step's instruction.
    pub file: String,
    /// First and last line, from 1.
    pub lines: Option<(u32, u32)>,
    /// The lines as people are shown them.
    pub excerpt: Option<String>,
    /// The first entry of the layer that differs, and in what. Where nothing but times differ, the first time.
    pub difference: Difference,
    /// How many entries differ in nothing but their times.
    pub times: usize,
}

impl LayerDivergence {
    /// Whether the builds differ in nothing but times.
    pub fn is_of_times(&self) -> bool {
        self.difference.attribute.is_time()
    }

    /// What can be done about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        self.is_of_times().then_some(
            "nothing but times differ: SOURCE_DATE_EPOCH in the environment and \
             `--output type=…,rewrite-timestamp=true` make them the same",
        )
    }
}

impl From<Divergence> for Error {
    fn from(found: Divergence) -> Error {
        match found {
            Divergence::Layer(found) => found.into(),
            Divergence::Image(found) => found.into(),
        }
    }
}

impl From<LayerDivergence> for Error {
    fn from(found: LayerDivergence) -> Error {
        let platform =
            found.platform.as_ref().map(|platform| format!(" for `{platform}`")).unwrap_or_default();
        let Difference { path, attribute } = &found.difference;
        let mut error = Error::new(
            ErrorKind::Build,
            format!(
                "two builds{platform} differ in layer {} of {}, {}: `/{path}` {attribute}",
                found.layer, found.layers, found.step
            ),
        );
        error.hint = found.hint().map(str::to_owned);
        error.detail = found.excerpt.map(Into::into);
        error
    }
}

impl Engine {
    /// Builds twice from nothing, compares, and exports the result where both made the same.
    pub async fn verify(
        &self,
        mut request: BuildRequest,
        progress: Arc<dyn ProgressSink>,
        cancel: CancellationToken,
    ) -> Result<Verified> {
        super::check_names(request.all_exports())?;
        request.no_cache = true;
        let began = SystemTime::now();
        let planned = async {
            let source = self.source(&request, &progress).await?;
            let prepared = self.prepare_of(&request, &source, &progress).await?;
            Ok::<_, Error>((source, prepared))
        };
        let (source, prepared) = unless(&cancel, planned).await?;
        let failed = |error| failure::of_build(error, &prepared.source);
        let first = self.job(&request, &prepared, progress.clone(), cancel.clone())?;
        let one = self.builder().solve(&first).await;
        self.sync_later()?;
        let one = one.map_err(failed)?;
        // Nothing of the first is shared, not even what tells its steps from other builds'. What there is to say of the
        // Dockerfile has been said.
        let silent: Arc<dyn ProgressSink> = Arc::new(Silent);
        let prepared_again = async {
            // A layer's times are whole seconds: within one, a step that writes the time would look as if it did not.
            tokio::time::sleep(until_next_second(SystemTime::now())).await;
            self.prepare_of(&request, &source, &silent).await
        };
        let again = unless(&cancel, prepared_again).await?;
        if let Some(found) = image::first(&prepared, &again) {
            return Ok(Verified::Different(Box::new(Divergence::Image(found))));
        }
        let shown: Arc<dyn ProgressSink> = Arc::new(Again(progress.clone()));
        let mut second = self.job(&request, &again, shown, cancel)?;
        second.attest = super::attest::attest(&request, &again, began)?;
        let other = self.builder().solve(&second).await;
        self.sync_later()?;
        let other = other.map_err(failed)?;
        let clamp = latest(request.all_exports(), prepared.epoch);
        if let Some(found) = self.compare(&first, (one, other.clone()), clamp, &prepared).await? {
            return Ok(Verified::Different(Box::new(Divergence::Layer(found))));
        }
        second.progress = progress;
        super::hand_out(request, &mut second);
        let built = self.builder().finish(second, other).await;
        self.sync_later()?;
        Ok(Verified::Same(super::result(built.map_err(failed)?)))
    }

    async fn compare(
        &self,
        job: &BuildJob,
        (one, other): (Vec<Layers>, Vec<Layers>),
        clamp: Option<i64>,
        prepared: &Prepared,
    ) -> Result<Option<LayerDivergence>> {
        let store = self.store().clone();
        let pairs: Vec<(Vec<DiffId>, Vec<DiffId>)> =
            one.iter().zip(&other).map(|(one, other)| (one.diff_ids(), other.diff_ids())).collect();
        let found = tokio::task::spawn_blocking(move || {
            let found = pairs.iter().enumerate().map(|(target, (one, other))| {
                Ok(first_of_layers(&store, one, other, clamp)?.map(|found| (target, found)))
            });
            // The layers are kept until they have been read.
            let found = first(found);
            drop((one, other));
            found
        });
        let found = found.await.map_err(|error| Error::internal("compare the builds", error))??;
        Ok(found.map(|(target, found)| describe(job, target, found, prepared)))
    }
}

/// What `work` comes to, unless it is cancelled before.
async fn unless<T>(cancel: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = cancel.cancelled() => Err(failure::cancelled()),
    }
}

/// The latest time, in seconds, that files have in each of the exports; none where one of them keeps the times of its files.
fn latest<'a>(exports: impl Iterator<Item = &'a Export>, epoch: Option<i64>) -> Option<i64> {
    let of_one = |export: &Export| match export {
        Export::Local { epoch: own, .. } | Export::Tar { epoch: own, .. } => own.or(epoch),
        other => other.image().and_then(|image| image.epoch.or(epoch).filter(|_| image.rewrite_timestamp)),
    };
    let each = exports.filter(|export| !matches!(export, Export::CacheOnly)).map(of_one);
    each.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The first result that is something.
fn first<T>(mut results: impl Iterator<Item = Result<Option<T>>>) -> Result<Option<T>> {
    results.find_map(Result::transpose).transpose()
}

/// Where two stacks of layers differ.
struct Found {
    layer: usize,
    layers: usize,
    difference: Difference,
    times: usize,
}

/// The first difference of two images' layers; one of nothing but times only where there is no other.
fn first_of_layers(
    store: &Store,
    one: &[DiffId],
    other: &[DiffId],
    clamp: Option<i64>,
) -> Result<Option<Found>> {
    let mut of_times: Option<Found> = None;
    let mut times = 0;
    for index in (0..one.len().min(other.len())).filter(|&index| one[index] != other[index]) {
        let (first, second) = (store.layers.open_tar(one, index)?, store.layers.open_tar(other, index)?);
        let mut found = None;
        let compared = compare(first, second, clamp, |difference| {
            let is_time = difference.attribute.is_time();
            let here = Found { layer: index + 1, layers: one.len(), difference, times: 0 };
            if is_time {
                times += 1;
                of_times.get_or_insert(here);
                return ControlFlow::Continue(());
            }
            found = Some(here);
            ControlFlow::Break(())
        });
        compared.map_err(|error| Error::internal("compare the layers of two builds", error))?;
        if let Some(found) = found {
            return Ok(Some(Found { times, ..found }));
        }
    }
    Ok(of_times.map(|found| Found { times, ..found }))
}

/// The difference with the step that is behind it.
fn describe(job: &BuildJob, target: usize, found: Found, prepared: &Prepared) -> LayerDivergence {
    let Found { layer, layers, difference, times } = found;
    let targets: Vec<_> =
        job.targets.iter().chain(job.others.iter().flat_map(|other| &other.targets)).collect();
    let makers = targets[target].root.map(|root| job.definition.layer_makers(root)).unwrap_or_default();
    let maker = makers.get(layers - layer).map(|id: &VertexId| &job.definition.vertex(*id).meta);
    let lines = maker.and_then(|meta| meta.span);
    LayerDivergence {
        platform: job.multi_platform.then(|| targets[target].platform.clone()),
        layer,
        layers,
        step: maker.map_or_else(|| "of the base".to_owned(), |meta| meta.name.clone()),
        file: prepared.source.name().to_owned(),
        excerpt: lines.map(|(first, last)| excerpt(&prepared.source, Span::new(first, last))),
        lines,
        difference,
        times,
    }
}

/// How long it is until the clock shows another second.
fn until_next_second(now: SystemTime) -> Duration {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into())
}

/// Shows the steps of the second build beside those of the first.
struct Again(Arc<dyn ProgressSink>);

impl ProgressSink for Again {
    fn event(&self, mut event: Event) {
        event.step = later(event.step);
        if let EventKind::Registered { name, inputs, .. } = &mut event.kind {
            name.insert_str(0, AGAIN);
            inputs.iter_mut().for_each(|input| *input = later(*input));
        }
        self.0.event(event);
    }
}

fn later(step: StepId) -> StepId {
    StepId(step.0 + SECOND)
}

#[cfg(test)]
mod tests {
    use kiln_builder::Destination;
    use kiln_builder::export::options::{ImageOptions, Place};

    use super::*;

    #[test]
    fn the_second_build_begins_in_another_second() {
        for nanos in [0, 1, 500_000_000, 999_999_999] {
            let now = UNIX_EPOCH + Duration::new(7, nanos);
            assert_eq!(now + until_next_second(now), UNIX_EPOCH + Duration::from_secs(8));
        }
    }

    #[test]
    fn times_count_unless_every_export_cuts_them_off() {
        let image = |rewrite_timestamp| Export::Image {
            image: ImageOptions { rewrite_timestamp, ..ImageOptions::default() },
            place: Place::default(),
        };
        let (split, prefix) = (None, String::new());
        let tar = || Export::Tar {
            dest: Destination::File("x".into()),
            split,
            prefix: prefix.clone(),
            epoch: Some(9),
        };
        assert_eq!(latest([image(true), tar(), Export::CacheOnly].iter(), Some(5)), Some(9));
        assert_eq!(latest([image(true), image(false)].iter(), Some(5)), None);
        assert_eq!((latest([image(true)].iter(), None), latest([].iter(), Some(5))), (None, None));
    }

    #[test]
    fn what_to_do_is_said_where_nothing_but_times_differ() {
        let divergence = |attribute: Attribute| LayerDivergence {
            platform: None,
            layer: 2,
            layers: 3,
            step: "[2/2] RUN x".into(),
            file: "Dockerfile".into(),
            lines: Some((2, 2)),
            excerpt: None,
            difference: Difference { path: "a".into(), attribute },
            times: 1,
        };
        let error = Error::from(divergence(Attribute::Mtime((1, 0), (2, 0))));
        assert_eq!(error.message, "two builds differ in layer 2 of 3, [2/2] RUN x: `/a` mtime is 1 and 2");
        assert!(error.hint.unwrap().contains("rewrite-timestamp"));
        assert_eq!(Error::from(divergence(Attribute::Added)).hint, None);
    }
}
