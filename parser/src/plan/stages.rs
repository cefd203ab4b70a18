//! Stages with their bases known.

use kiln_graph::SourceOp;
use kiln_oci::{ImageConfig, Platform, Reference};

use super::{BaseImage, GlobalArgs, Plan, PlanOptions};
use crate::ast::{Dockerfile, Stage};
use crate::expand::{Budget, Expander};
use crate::instruction::nearest;
use crate::lint::{Config, FileScene, FromScene, Linter};
use crate::{Diagnostic, Instruction, Node, Span};

/// Most stages of a file.
const MAX_STAGES: usize = 1000;

/// The name of the empty base.
pub(crate) const SCRATCH: &str = "scratch";

/// A stage whose `FROM` is expanded.
#[derive(Debug, Clone)]
pub(crate) struct StagePlan {
    pub(crate) index: usize,
    pub(crate) name: Option<String>,
    /// What its `FROM` says, expanded.
    pub(crate) image: String,
    pub(crate) base: Base,
    pub(crate) platform: Platform,
    pub(crate) span: Span,
    pub(crate) nodes: Vec<Node>,
    /// Whether a context stands for it.
    pub(crate) is_context: bool,
}

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    Image(BaseImage),
    /// A context with files and no configuration.
    Files(SourceOp),
    /// A context that was built, with its configuration.
    Built(SourceOp, Box<ImageConfig>),
    Stage(usize),
}

/// Everything of a plan but the images that it needs.
pub(super) fn plan(file: &Dockerfile, options: &PlanOptions) -> Result<Plan, Vec<Diagnostic>> {
    check_size(file).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let budget = Budget::default();
    let mut options = options.clone();
    options.target = options.target.take().filter(|target| !target.is_empty());
    let global = GlobalArgs::new(file, &options, &budget, &mut errors);
    let mut stages = Vec::with_capacity(file.stages.len());
    let mut linter = linter(file, &options, &budget)?;
    let declared = declared(file);
    let scope = Scope {
        declared,
        global: &global,
        options: &options,
        budget: &budget,
        escape: file.directives.escape,
    };
    for stage in &file.stages {
        linter.from(&FromScene { file, stage, args: &global, budget: &budget });
        match scope.stage(stage, &stages) {
            Ok(stage) => stages.push(stage),
            Err(diagnostic) => {
                errors.push(diagnostic);
                stages.push(scope.broken(stage, stages.len()));
            }
        }
    }
    let target = find_target(&stages, &options).map_err(|error| errors.push(error));
    match target {
        Ok(target) if errors.is_empty() => Ok(Plan {
            base_images: Vec::new(),
            escape: file.directives.escape,
            options,
            stages,
            target,
            global,
            linter,
        }),
        _ => Err(linter.fail_all(errors)),
    }
}

/// What build checks say before anything is expanded.
fn linter(file: &Dockerfile, options: &PlanOptions, budget: &Budget) -> Result<Linter, Vec<Diagnostic>> {
    let config = Config::of(file, &options.build_args).map_err(|error| vec![error])?;
    let mut linter = Linter::new(config);
    let defaults = GlobalArgs::of_defaults(file, options, budget);
    linter.file(&FileScene { file, defaults: defaults.as_ref() });
    Ok(linter)
}

/// The names of the arguments before the first `FROM`.
fn declared(file: &Dockerfile) -> Vec<&str> {
    let names = file.global_args.iter().filter_map(|node| match &node.instruction {
        Instruction::Arg(arg) => Some(arg.arguments.iter().map(|(name, _)| name.as_str())),
        _ => None,
    });
    names.flatten().collect()
}

fn check_size(file: &Dockerfile) -> Result<(), Diagnostic> {
    if file.stages.len() > MAX_STAGES {
        return Err(Diagnostic::global(format!("the file has more than {MAX_STAGES} stages")));
    }
    Ok(())
}

fn find_target(stages: &[StagePlan], options: &PlanOptions) -> Result<usize, Diagnostic> {
    let Some(target) = &options.target else {
        return stages.len().checked_sub(1).ok_or_else(|| Diagnostic::global("the file has no build stage"));
    };
    let lower = target.to_lowercase();
    let by_name = stages.iter().rposition(|stage| stage.name.as_deref() == Some(lower.as_str()));
    let by_number = || target.parse().ok().filter(|index: &usize| *index < stages.len());
    by_name.or_else(by_number).ok_or_else(|| {
        let names: Vec<&str> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let help = match nearest(&lower, &names) {
            Some(known) => Some(format!("did you mean `{known}`?")),
            None if names.is_empty() => None,
            None => Some(format!("the stages are `{}`", names.join("`, `"))),
        };
        Diagnostic::global(format!("target stage `{target}` could not be found")).with_help(help)
    })
}

struct Scope<'a> {
    /// The names of the global arguments.
    declared: Vec<&'a str>,
    global: &'a GlobalArgs,
    options: &'a PlanOptions,
    budget: &'a Budget,
    escape: char,
}

impl Scope<'_> {
    fn stage(&self, stage: &Stage, earlier: &[StagePlan]) -> Result<StagePlan, Diagnostic> {
        let image = self.expand(&stage.from.image, stage.span)?;
        if image.is_empty() {
            let message = format!("base name (`{}`) should not be blank", stage.from.image);
            return Err(Diagnostic::error(stage.span, message).with_help(self.undefined(&stage.from.image)));
        }
        let platform = match &stage.from.platform {
            Some(text) => self.platform(text, stage.span)?,
            None => self.options.platform.clone(),
        };
        // A context of its name stands for the whole stage.
        let context = stage.from.name.as_deref().and_then(|name| self.options.contexts.get(name, &platform));
        let base = match context {
            Some(context) => Ok(context.base(&platform)),
            None => self.base(&image, &platform, stage.span, earlier),
        };
        let base = base.map_err(|error| self.explain(error, &stage.from.image))?;
        let platform = match base {
            Base::Stage(index) => earlier[index].platform.clone(),
            // Nothing is for every platform.
            Base::Scratch => self.options.platform.clone(),
            Base::Image(_) | Base::Files(_) | Base::Built(..) => platform,
        };
        Ok(StagePlan {
            index: earlier.len(),
            name: stage.from.name.clone(),
            image,
            base,
            platform,
            span: stage.span,
            nodes: if context.is_some() { Vec::new() } else { stage.instructions.clone() },
            is_context: context.is_some(),
        })
    }

    /// Stands for a stage that has an error, so that later ones are checked too.
    fn broken(&self, stage: &Stage, index: usize) -> StagePlan {
        StagePlan {
            index,
            name: stage.from.name.clone(),
            image: SCRATCH.to_owned(),
            base: Base::Scratch,
            platform: self.options.platform.clone(),
            span: stage.span,
            nodes: Vec::new(),
            is_context: false,
        }
    }

    fn base(
        &self,
        image: &str,
        platform: &Platform,
        span: Span,
        earlier: &[StagePlan],
    ) -> Result<Base, Diagnostic> {
        if let Some(index) = earlier.iter().rposition(|stage| stage.name.as_deref() == Some(image)) {
            return Ok(Base::Stage(index));
        }
        if image == SCRATCH {
            return Ok(Base::Scratch);
        }
        // BuildKit looks for the exact text among names in lower case, and then for an image that cannot be.
        let lower = image.to_lowercase();
        if earlier.iter().any(|stage| stage.name.as_deref() == Some(lower.as_str())) {
            let message =
                format!("FROM {image}: there is no such stage, as the names of stages are in lower case");
            return Err(
                Diagnostic::error(span, message).with_help(Some(format!("did you mean `FROM {lower}`?")))
            );
        }
        match self.options.contexts.get(image, platform) {
            Some(context) => Ok(context.base(platform)),
            None => base_image(image, platform, span).map(Base::Image),
        }
    }

    fn expand(&self, text: &str, span: Span) -> Result<String, Diagnostic> {
        let lookup = |name: &str| self.global.get(name);
        let expanded = Expander::new(self.escape, &lookup, self.budget).word(text);
        expanded.map_err(|error| Diagnostic::error(span, format!("FROM {text}: {error}")))
    }

    fn platform(&self, text: &str, span: Span) -> Result<Platform, Diagnostic> {
        let expanded = self.expand(text, span)?;
        if expanded.is_empty() {
            let message = format!("empty platform value from expression `{text}`");
            return Err(Diagnostic::error(span, message).with_help(self.undefined(text)));
        }
        expanded.parse().map_err(|error| Diagnostic::error(span, format!("FROM --platform={text}: {error}")))
    }

    /// The same with a hint about variables where there is none yet.
    fn explain(&self, error: Diagnostic, text: &str) -> Diagnostic {
        let help = error.help.clone().or_else(|| self.undefined(text));
        error.with_help(help)
    }

    /// A hint where a variable in `text` has no value, or was declared under a similar name only.
    fn undefined(&self, text: &str) -> Option<String> {
        let name = text.split('$').nth(1)?.trim_start_matches('{');
        let name = name.split(|c: char| !(c == '_' || c.is_alphanumeric())).next()?;
        if self.global.get(name).is_some() {
            return None;
        }
        if self.declared.contains(&name) {
            return Some(format!("`{name}` has no value: give it a default, or `--build-arg {name}=…`"));
        }
        let known = nearest(name, &self.global.names().collect::<Vec<_>>())
            .map(|known| format!("did you mean `{known}`?"));
        Some(known.unwrap_or_else(|| format!("`{name}` is not declared by an ARG before the first FROM")))
    }
}

/// An image as text, in full form.
pub(crate) fn base_image(text: &str, platform: &Platform, span: Span) -> Result<BaseImage, Diagnostic> {
    let lower =
        || Some(text.to_lowercase()).filter(|lower| lower != text && lower.parse::<Reference>().is_ok());
    let reference = text.parse::<Reference>().map_err(|error| {
        let help = lower().map(|lower| format!("did you mean `{lower}`?"));
        Diagnostic::error(span, error.to_string()).with_help(help)
    })?;
    Ok(BaseImage { reference: reference.with_default_tag(), platform: platform.clone() })
}
