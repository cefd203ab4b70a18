//! What the variables of each stage are before anything is lowered: `--from` may name its image by them, and which
//! images a build needs has to be known first.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::BaseConfigs;
use super::stage::initial_env;
use super::variables::Variables;
use crate::ast::{Arg, Env};
use crate::expand::{Budget, ExpandError, Expander, Unset};
use crate::plan::{Base, Plan, StagePlan};
use crate::{Diagnostic, Instruction, Node};

/// The variables of a stage so far, as far as they are known.
#[derive(Debug, Clone)]
pub(super) struct Constants<'a> {
    plan: &'a Plan,
    variables: Variables,
    /// Names whose values depend on the configuration of an image that was not looked up yet.
    unknown: BTreeSet<String>,
    /// Whether every other name that is not in `variables` is not set.
    complete: bool,
}

impl<'a> Constants<'a> {
    /// What a stage begins with; `earlier` has what the stages before it ended with.
    pub(super) fn begin(plan: &'a Plan, stage: &StagePlan, bases: &BaseConfigs, earlier: &[Self]) -> Self {
        let new = |env: &[String], complete| Constants {
            plan,
            variables: Variables::from_env(&initial_env(env.to_vec(), &stage.platform)),
            unknown: BTreeSet::new(),
            complete,
        };
        match &stage.base {
            Base::Scratch | Base::Files(_) => new(&[], true),
            Base::Built(_, config) => new(&config.config.env, true),
            Base::Stage(index) => earlier.get(*index).cloned().unwrap_or_else(|| new(&[], true)),
            Base::Image(image) => match bases.get(image) {
                Some(found) => new(&found.config.config.env, true),
                None => new(&[], false),
            },
        }
    }

    /// How many variables are known.
    pub(super) fn len(&self) -> usize {
        self.variables.len()
    }

    /// Goes past an instruction. What is wrong with it is for lowering to say.
    pub(super) fn pass(&mut self, instruction: &Instruction, budget: &Budget) {
        match instruction {
            Instruction::Arg(arg) => self.declare(arg, budget),
            Instruction::Env(env) => self.set_env(env, budget),
            _ => {}
        }
    }

    fn declare(&mut self, arg: &Arg, budget: &Budget) {
        for (name, default) in &arg.arguments {
            match (self.plan.options.build_args.get(name), default) {
                (Some(given), _) => self.set(name, Some(given)),
                (None, Some(default)) => {
                    let value = self.expand(default, budget).ok().flatten();
                    self.set(name, value.as_deref());
                }
                (None, None) => {
                    if let Some(value) = self.plan.global.get(name) {
                        self.set(name, Some(&value));
                    }
                }
            }
        }
    }

    fn set_env(&mut self, env: &Env, budget: &Budget) {
        let word = |text: &str| self.expand(text, budget).ok().flatten();
        let pairs: Vec<_> = env.variables.iter().map(|pair| (word(&pair.key), word(&pair.value))).collect();
        for (name, value) in pairs {
            match name {
                Some(name) => self.set(&name, value.as_deref()),
                // Any name may have been set.
                None => self.complete = false,
            }
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => {
                self.unknown.remove(name);
                self.variables.set(name, value);
            }
            None => {
                self.unknown.insert(name.to_owned());
            }
        }
    }

    /// A value; `None` where it is not known yet.
    fn expand(&self, text: &str, budget: &Budget) -> Result<Option<String>, ExpandError> {
        self.evaluate(text, budget, Unset::Empty, |_| None)
    }

    /// The text of a `--from`, which may use global arguments too; `None` where it is not known yet.
    pub(super) fn from(
        &self,
        text: &str,
        node: &Node,
        budget: &Budget,
    ) -> Result<Option<String>, Diagnostic> {
        if !text.contains('$') {
            return Ok(Some(text.to_owned()));
        }
        let expanded = self.evaluate(text, budget, Unset::Refused, |name| self.plan.global.get(name));
        expanded.map_err(|error| explain(&error, text, node))
    }

    fn evaluate(
        &self,
        text: &str,
        budget: &Budget,
        unset: Unset,
        otherwise: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, ExpandError> {
        let missed = Cell::new(false);
        let lookup = |name: &str| {
            if self.unknown.contains(name) {
                missed.set(true);
                return None;
            }
            let value = self.variables.get(name).map(str::to_owned);
            missed.set(missed.get() || (value.is_none() && !self.complete));
            value.or_else(|| otherwise(name))
        };
        let expander = Expander { unset, ..Expander::new(self.plan.escape, &lookup, budget) };
        let value = expander.word(text);
        if missed.get() { Ok(None) } else { value.map(Some) }
    }
}

/// What is wrong with the variables of a `--from`.
pub(super) fn explain(error: &ExpandError, text: &str, node: &Node) -> Diagnostic {
    let help = match error {
        ExpandError::Unset(name) => Some(format!(
            "which stage or image is meant has to be known before anything is run: \
             `{name}` must be an ARG before the first FROM, or an ARG or ENV of this stage"
        )),
        _ => None,
    };
    Diagnostic::error(node.span, format!("invalid from flag value `{text}`: {error}")).with_help(help)
}
