//! Which stages and images a target needs, triggers of bases included.

use std::collections::BTreeSet;

use kiln_graph::SourceOp;

use super::BaseConfigs;
use super::constants::Constants;
use super::stage::{MAX_INHERITED, too_much_inherited};
use crate::ast::Instruction;
use crate::expand::Budget;
use crate::parse::parse_trigger;
use crate::plan::{Base, BaseImage, NamedContext, Plan, SCRATCH, StagePlan, base_image, context_image};
use crate::{Diagnostic, Node, Span};

/// Most triggers that one base may carry.
const MAX_TRIGGERS: usize = 1000;
/// Most instructions of a plan, triggers repeated where they fire.
const MAX_INSTRUCTIONS: usize = 1_000_000;

const ONLY_EARLIER: &str = "a stage can only use stages that are defined before it";

/// Where `--from` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// `scratch`: no files.
    Nothing,
    Stage(usize),
    Image(BaseImage),
    /// A named context.
    Files(SourceOp),
}

/// What a stage needs, and where it says so.
struct Link {
    from: From,
    /// As written, for messages.
    text: String,
    span: Span,
}

/// What each stage does and needs.
pub(super) struct Dependencies {
    /// The triggers of its base, by stage.
    pub(super) triggers: Vec<Vec<Node>>,
    /// Whether the target needs it, by stage.
    pub(super) needed: Vec<bool>,
    images: BTreeSet<BaseImage>,
}

/// The images that lowering asks for and `bases` has not.
pub(crate) fn missing_images(plan: &Plan, bases: &BaseConfigs) -> Result<Vec<BaseImage>, Diagnostic> {
    Ok(Dependencies::new(plan, bases)?.missing(bases))
}

impl Dependencies {
    pub(super) fn new(plan: &Plan, bases: &BaseConfigs) -> Result<Self, Diagnostic> {
        let triggers = triggers(plan, bases)?;
        let links = links(plan, bases, &triggers)?;
        check_circles(plan, &links)?;
        let needed = reach(plan, &links)?;
        let of_needed = links.into_iter().zip(&needed).filter(|(_, needed)| **needed);
        let image = |link: Link| if let From::Image(image) = link.from { Some(image) } else { None };
        let images = of_needed.flat_map(|(links, _)| links).filter_map(image).collect();
        Ok(Dependencies { triggers, needed, images })
    }

    pub(super) fn missing(&self, bases: &BaseConfigs) -> Vec<BaseImage> {
        self.images.iter().filter(|image| bases.get(image).is_none()).cloned().collect()
    }
}

/// The base's triggers by stage; those of a stage do not outlive its children.
fn triggers(plan: &Plan, bases: &BaseConfigs) -> Result<Vec<Vec<Node>>, Diagnostic> {
    let mut all = Vec::with_capacity(plan.stages.len());
    let mut left = MAX_INSTRUCTIONS;
    for stage in &plan.stages {
        let texts = match &stage.base {
            Base::Scratch | Base::Files(_) => Vec::new(),
            // What stands for a stage is what the stage would have become.
            _ if stage.is_context => Vec::new(),
            Base::Stage(index) => own_triggers(&plan.stages[*index]),
            Base::Built(_, config) => config.config.on_build.iter().map(String::as_str).collect(),
            Base::Image(image) => bases
                .get(image)
                .iter()
                .flat_map(|found| &found.config.config.on_build)
                .map(String::as_str)
                .collect(),
        };
        left = left.saturating_sub(texts.len());
        if texts.len() > MAX_TRIGGERS || left == 0 {
            let message = format!("the base has more than {MAX_TRIGGERS} ONBUILD triggers");
            return Err(Diagnostic::error(stage.span, message));
        }
        all.push(texts.into_iter().map(|text| parse_trigger(text, stage.span)).collect::<Result<_, _>>()?);
    }
    Ok(all)
}

fn own_triggers(stage: &StagePlan) -> Vec<&str> {
    stage
        .nodes
        .iter()
        .filter_map(|node| match &node.instruction {
            Instruction::Onbuild(onbuild) => Some(onbuild.text.as_str()),
            _ => None,
        })
        .collect()
}

/// What every stage needs, its base first. A `--from` whose variables are not known yet is left out: its stage
/// needs an image that will be asked for, and then all is looked at again.
fn links(plan: &Plan, bases: &BaseConfigs, triggers: &[Vec<Node>]) -> Result<Vec<Vec<Link>>, Diagnostic> {
    let budget = Budget::default();
    let mut constants: Vec<Constants<'_>> = Vec::new();
    let mut all = Vec::with_capacity(plan.stages.len());
    let mut inherited = 0;
    for (stage, triggers) in plan.stages.iter().zip(triggers) {
        let mut known = Constants::begin(plan, stage, bases, &constants);
        inherited += if matches!(stage.base, Base::Stage(_)) { known.len() } else { 0 };
        if inherited > MAX_INHERITED {
            return Err(too_much_inherited(stage));
        }
        let mut links: Vec<Link> = base_link(stage).into_iter().collect();
        for node in triggers.iter().chain(&stage.nodes) {
            for text in froms(&node.instruction) {
                if let Some(name) = known.from(&text, node, &budget)? {
                    let from = resolve(plan, stage, &name, node.span)?;
                    links.push(Link { from, text, span: node.span });
                }
            }
            known.pass(&node.instruction, &budget);
        }
        constants.push(known);
        all.push(links);
    }
    Ok(all)
}

fn base_link(stage: &StagePlan) -> Option<Link> {
    let from = match &stage.base {
        Base::Scratch | Base::Files(_) | Base::Built(..) => return None,
        Base::Image(image) => From::Image(image.clone()),
        Base::Stage(index) => From::Stage(*index),
    };
    Some(Link { from, text: String::new(), span: stage.span })
}

/// Every `--from` of an instruction as written.
fn froms(instruction: &Instruction) -> Vec<String> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().cloned().collect(),
        Instruction::Run(run) => run.mounts_from().collect(),
        _ => Vec::new(),
    }
}

/// A `--from`: a number is a stage, a name the latest earlier stage of that name or else a later one or else an image
/// for the target's platform.
pub(super) fn resolve(plan: &Plan, stage: &StagePlan, text: &str, span: Span) -> Result<From, Diagnostic> {
    if let Ok(number) = text.parse::<i64>() {
        let index = usize::try_from(number).ok().filter(|index| *index < plan.stages.len());
        let message = format!("invalid from flag value `{text}`: there is no stage of this number");
        return index.map(From::Stage).ok_or_else(|| Diagnostic::error(span, message));
    }
    let lower = text.to_lowercase();
    let named = |stage: &&StagePlan| stage.name.as_deref() == Some(lower.as_str());
    let (earlier, later) = plan.stages.split_at(stage.index);
    match earlier.iter().rfind(named).or_else(|| later.iter().find(named)) {
        Some(found) => Ok(From::Stage(found.index)),
        None if text == SCRATCH => Ok(From::Nothing),
        None => match plan.options.contexts.get(text, &plan.options.platform) {
            Some(NamedContext::Files(source) | NamedContext::Built(source, _)) => {
                Ok(From::Files(source.clone()))
            }
            Some(NamedContext::Image(image)) => Ok(From::Image(context_image(image, &plan.options.platform))),
            Some(NamedContext::Scratch) => Ok(From::Nothing),
            None => base_image(text, &plan.options.platform, span).map(From::Image),
        },
    }
}

/// Stages that use each other's files cannot be built, even where nobody needs them.
fn check_circles(plan: &Plan, links: &[Vec<Link>]) -> Result<(), Diagnostic> {
    let mut left: BTreeSet<usize> = (0..plan.stages.len()).collect();
    let used = |index: usize| links[index].iter().filter(|link| !link.text.is_empty());
    let is_free = |index: &usize, left: &BTreeSet<usize>| {
        used(*index).all(|link| !matches!(link.from, From::Stage(other) if left.contains(&other)))
    };
    // A stage without a link forwards becomes free in the order of the file; each round frees at least one more.
    loop {
        let before = left.len();
        for index in 0..plan.stages.len() {
            if left.contains(&index) && is_free(&index, &left) {
                left.remove(&index);
            }
        }
        if left.len() == before {
            break;
        }
    }
    let forward = |index: &usize| {
        let circular = |link: &&Link| matches!(link.from, From::Stage(other) if other >= *index && left.contains(&other));
        used(*index).find(circular)
    };
    match left.iter().find_map(forward) {
        Some(Link { text, span, .. }) => {
            let message = format!("circular dependency: `{text}` is this stage or needs files of it");
            Err(Diagnostic::error(*span, message).with_help(Some(ONLY_EARLIER.to_owned())))
        }
        None => Ok(()),
    }
}

/// What the target needs: stages before it only.
fn reach(plan: &Plan, links: &[Vec<Link>]) -> Result<Vec<bool>, Diagnostic> {
    let mut needed = vec![plan.options.all_stages; plan.stages.len()];
    needed[plan.target] = true;
    for index in (0..=plan.target).rev() {
        if !needed[index] {
            continue;
        }
        for Link { from, text, span } in &links[index] {
            match from {
                From::Stage(other) if *other < index => needed[*other] = true,
                From::Stage(_) => return Err(later(text, *span)),
                From::Nothing | From::Image(_) | From::Files(_) => {}
            }
        }
    }
    Ok(needed)
}

fn later(text: &str, span: Span) -> Diagnostic {
    let message = format!("invalid from flag value `{text}`: needs to be defined before current stage");
    Diagnostic::error(span, message).with_help(Some(ONLY_EARLIER.to_owned()))
}
