//! A plan and its base images' configurations to a graph and an image configuration.

mod checks;
mod config;
mod constants;
mod contexts;
mod copy;
mod counter;
mod dependencies;
mod history;
mod mounts;
mod outline;
mod platform;
mod remote;
mod run;
mod scope;
mod stage;
mod variables;

use std::collections::BTreeMap;

use kiln_graph::ignore::IgnoreFile;
use kiln_graph::{Definition, Edge, Op, SourceOp, VertexId, VertexMeta};
use kiln_oci::{ImageConfig, Reference};

use crate::expand::Budget;
use crate::lint::Linter;
use crate::plan::BaseImage;
use crate::{Diagnostic, Plan, Span};

use dependencies::Dependencies;
pub(crate) use dependencies::missing_images;
pub(crate) use remote::is_remote;
use stage::StageState;

/// What is known of the images that a plan asked for.
#[derive(Debug, Clone, Default)]
pub struct BaseConfigs(BTreeMap<BaseImage, ResolvedBase>);

/// An image that was looked up.
#[derive(Debug, Clone)]
pub struct ResolvedBase {
    /// With the digest of what was found (the index's, where it is one), the tag kept.
    pub reference: Reference,
    /// Its configuration.
    pub config: ImageConfig,
}

impl BaseConfigs {
    /// Nothing known.
    pub fn new() -> Self {
        BaseConfigs::default()
    }

    /// Adds what was found for `image`.
    pub fn insert(&mut self, image: BaseImage, found: ResolvedBase) {
        self.0.insert(image, found);
    }

    /// The triggers of all that were found.
    pub(crate) fn triggers(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(|found| found.config.config.on_build.iter().map(String::as_str))
    }

    /// What was found for `image`.
    pub fn get(&self, image: &BaseImage) -> Option<&ResolvedBase> {
        self.0.get(image)
    }
}

/// What [`Plan::lower`] came to.
#[derive(Debug, Clone)]
pub enum Lowering {
    /// The graph is complete.
    Ready(Box<Lowered>),
    /// ONBUILD triggers of the bases name further images: look these up too, then lower again.
    NeedsMore(Vec<BaseImage>),
}

/// A build as a graph.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The graph.
    pub definition: Definition,
    /// The result's filesystem; `None` is the empty one.
    pub root: Option<Edge>,
    /// The result's configuration: its history has one entry without `empty_layer` for each layer of `root`, as far
    /// as the base's has; `rootfs.diff_ids` is empty and `created` unset, for the exporter to fill.
    pub config: ImageConfig,
    /// How many of the first history entries are the base image's.
    pub base_history: usize,
    /// How many of the lowest layers are the base image's.
    pub base_layers: usize,
    /// The base image at the bottom of the target, with digest.
    pub base: Option<Reference>,
    /// What build checks found.
    pub warnings: Vec<Diagnostic>,
}

impl Plan {
    /// Makes the graph; pure. `bases` should hold [`Plan::base_images`], and what `NeedsMore` asked for.
    pub fn lower(&self, bases: &BaseConfigs) -> Result<Lowering, Vec<Diagnostic>> {
        let fail = |error| self.linter.clone().fail(error);
        let dependencies = Dependencies::new(self, bases).map_err(fail)?;
        let missing = dependencies.missing(bases);
        if !missing.is_empty() {
            return Ok(Lowering::NeedsMore(missing));
        }
        let mut lowerer = Lowerer::new(self, bases, dependencies);
        match lowerer.run() {
            Ok(()) => Ok(Lowering::Ready(Box::new(lowerer.finish()?))),
            Err(diagnostic) => Err(lowerer.linter.fail(diagnostic)),
        }
    }
}

/// A graph in the making.
struct Lowerer<'a> {
    plan: &'a Plan,
    bases: &'a BaseConfigs,
    dependencies: Dependencies,
    budget: Budget,
    definition: Definition,
    /// Finished stages by index.
    states: Vec<Option<StageState>>,
    images: BTreeMap<BaseImage, VertexId>,
    context: Option<VertexId>,
    /// What is selected from the context; an empty text is all of it.
    selected: Vec<String>,
    linter: Linter,
    ignore: Option<IgnoreFile>,
    /// Sum of the history texts so far.
    history_bytes: usize,
    /// Entries of history and environment that stages have from other stages.
    inherited: usize,
    /// Sum of the environments of all `RUN`s.
    env_bytes: usize,
}

impl<'a> Lowerer<'a> {
    fn new(plan: &'a Plan, bases: &'a BaseConfigs, dependencies: Dependencies) -> Self {
        Lowerer {
            plan,
            bases,
            dependencies,
            budget: Budget::default(),
            definition: Definition::new(),
            states: vec![None; plan.stages.len()],
            images: BTreeMap::new(),
            context: None,
            selected: Vec::new(),
            linter: plan.linter.clone(),
            ignore: checks::ignore_file(plan),
            history_bytes: 0,
            inherited: 0,
            env_bytes: 0,
        }
    }

    /// Lowers every stage that is needed; a stage only needs earlier ones.
    fn run(&mut self) -> Result<(), Diagnostic> {
        for index in 0..self.plan.stages.len() {
            if self.dependencies.needed[index] {
                self.states[index] = Some(self.stage(index)?);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Lowered, Vec<Diagnostic>> {
        let state = self.states[self.plan.target]
            .take()
            .unwrap_or_else(|| StageState::scratch(&self.plan.options.platform));
        self.close_context();
        let mut config = state.config;
        for (name, value) in &self.plan.options.labels {
            config.config.labels.insert(name.clone(), value.clone());
        }
        let base_layers = config.rootfs.diff_ids.len();
        config.rootfs.diff_ids.clear();
        platform::of_result(&self.plan.options, &mut config.platform);
        let warnings = self.linter.finish()?;
        Ok(Lowered {
            definition: self.definition,
            root: state.edge,
            config,
            base_history: state.base_history,
            base_layers,
            base: state.base,
            warnings,
        })
    }

    fn add(&mut self, op: Op, inputs: Vec<Edge>, meta: VertexMeta) -> Result<VertexId, Diagnostic> {
        let span = meta.span.map_or_else(Span::default, |(first, last)| Span::new(first, last));
        self.definition.add(op, inputs, meta).map_err(|error| Diagnostic::error(span, error.to_string()))
    }

    /// Files from elsewhere; one vertex, however often they are used, so that all its users see the same.
    fn source(&mut self, source: SourceOp, meta: VertexMeta) -> Result<Edge, Diagnostic> {
        let op = Op::Source(source);
        if let Some((id, _)) = self.definition.vertices().find(|(_, vertex)| vertex.op == op) {
            return Ok(id.output());
        }
        Ok(self.add(op, Vec::new(), meta)?.output())
    }

    /// The source `context`, of which `paths` are needed.
    fn context(&mut self, paths: impl IntoIterator<Item = String>) -> Result<Edge, Diagnostic> {
        self.selected.extend(paths);
        let id = match self.context {
            Some(id) => id,
            None => {
                let source = self.context_source(Vec::new());
                let meta = VertexMeta::named("[internal] load build context");
                self.add(Op::Source(source), Vec::new(), meta)?
            }
        };
        self.context = Some(id);
        Ok(id.output())
    }

    fn context_source(&self, include: Vec<String>) -> SourceOp {
        SourceOp::Local {
            name: "context".to_owned(),
            follow: include.clone(),
            include,
            exclude: self.plan.options.context_exclude.clone(),
        }
    }

    /// Now that every user is known, writes down what they select.
    fn close_context(&mut self) {
        let Some(id) = self.context else { return };
        let mut include = std::mem::take(&mut self.selected);
        include.sort();
        include.dedup();
        if include.iter().any(String::is_empty) {
            include.clear();
        }
        let source = self.context_source(include);
        self.definition.set_source(id, source);
    }

    /// The files of an image; one vertex, however often it is used.
    fn image(&mut self, image: &BaseImage, meta: VertexMeta) -> Result<Edge, Diagnostic> {
        if let Some(id) = self.images.get(image) {
            return Ok(id.output());
        }
        let reference =
            self.bases.get(image).map_or_else(|| image.reference.clone(), |found| found.reference.clone());
        let source = SourceOp::Image { reference, platform: image.platform.clone() };
        let id = self.add(Op::Source(source), Vec::new(), meta)?;
        self.images.insert(image.clone(), id);
        Ok(id.output())
    }
}
