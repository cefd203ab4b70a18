//! Which stages and images a target needs, triggers of bases included.

use std::collections::BTreeSet;

use super::BaseConfigs;
use crate::ast::Instruction;
use crate::parse::parse_trigger;
use crate::plan::{Base, BaseImage, Plan, StagePlan, base_image};
use crate::{Diagnostic, Node, Span};

/// Most triggers that one base may carry.
const MAX_TRIGGERS: usize = 1000;
/// Most instructions of a plan, triggers repeated where they fire.
const MAX_INSTRUCTIONS: usize = 1_000_000;

/// Where `--from` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    Stage(usize),
    Image(BaseImage),
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
        let mut links = Vec::with_capacity(plan.stages.len());
        for stage in &plan.stages {
            links.push(links_of(plan, stage, &triggers[stage.index])?);
        }
        let needed = reach(plan, &links);
        let images =
            links.into_iter().zip(&needed).filter(|(_, needed)| **needed).flat_map(|(links, _)| links);
        let image = |from| if let From::Image(image) = from { Some(image) } else { None };
        let images = images.filter_map(image).collect();
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
            Base::Scratch => Vec::new(),
            Base::Stage(index) => own_triggers(&plan.stages[*index]),
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

fn links_of(plan: &Plan, stage: &StagePlan, triggers: &[Node]) -> Result<Vec<From>, Diagnostic> {
    let mut links = match &stage.base {
        Base::Scratch => Vec::new(),
        Base::Image(image) => vec![From::Image(image.clone())],
        Base::Stage(index) => vec![From::Stage(*index)],
    };
    for node in triggers.iter().chain(&stage.nodes) {
        match &node.instruction {
            Instruction::Copy(copy) => {
                let from = copy.from.iter().map(|from| resolve(plan, stage, from, node.span));
                links.extend(from.collect::<Result<Vec<_>, _>>()?);
            }
            Instruction::Run(run) => {
                let from = run.mounts_from().map(|from| resolve(plan, stage, &from, node.span));
                links.extend(from.collect::<Result<Vec<_>, _>>()?);
            }
            _ => {}
        }
    }
    Ok(links)
}

/// A `--from`: a number is a stage, a name an earlier stage or else an image for this stage's platform.
pub(super) fn resolve(plan: &Plan, stage: &StagePlan, text: &str, span: Span) -> Result<From, Diagnostic> {
    let later = |what: &str| {
        let message = format!("invalid from flag value `{text}`: {what}");
        let help = "a stage can only use stages that are defined before it".to_owned();
        Diagnostic::error(span, message).with_help(Some(help))
    };
    if let Ok(index) = text.parse::<usize>() {
        let earlier = index < stage.index;
        return earlier
            .then_some(From::Stage(index))
            .ok_or_else(|| later("needs to be defined before current stage"));
    }
    let lower = text.to_lowercase();
    let named =
        |stages: &[StagePlan]| stages.iter().rposition(|stage| stage.name.as_deref() == Some(lower.as_str()));
    if let Some(index) = named(&plan.stages[..stage.index]) {
        return Ok(From::Stage(index));
    }
    match named(&plan.stages[stage.index..]) {
        Some(0) => Err(later("a stage cannot use itself")),
        Some(_) => Err(later("needs to be defined before current stage")),
        None => base_image(text, &plan.options.platform, span).map(From::Image),
    }
}

/// Every edge leads to an earlier stage, so one walk backwards finds all.
fn reach(plan: &Plan, links: &[Vec<From>]) -> Vec<bool> {
    let mut needed = vec![false; plan.stages.len()];
    needed[plan.target] = true;
    for index in (0..=plan.target).rev().filter(|index| *index < links.len()) {
        if !needed[index] {
            continue;
        }
        for link in &links[index] {
            if let From::Stage(other) = link {
                needed[*other] = true;
            }
        }
    }
    needed
}
