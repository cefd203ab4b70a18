//! The variables that an instruction can use, with their values as far as the file says them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::joined::{Joined, range_of};
use super::{Document, stages};
use crate::ast::Node;
use crate::expand::{Budget, Expander};
use crate::words::raw_words;
use crate::{Instruction, Span};

/// Arguments that are there without a value in the file.
const PLATFORM: [&str; 11] = [
    "BUILDARCH",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDPLATFORM",
    "BUILDVARIANT",
    "TARGETARCH",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETPLATFORM",
    "TARGETSTAGE",
    "TARGETVARIANT",
];

/// Where a variable comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// `ARG`
    Arg,
    /// `ENV`
    Env,
    /// The build itself: the platforms.
    Build,
}

/// A variable before an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) origin: Origin,
    /// Expanded; `None` where only the build knows it.
    pub(super) value: Option<String>,
    /// The instruction that set it last.
    pub(super) span: Option<Span>,
}

/// Variables by name.
#[derive(Debug, Default)]
pub(super) struct Variables {
    by_name: BTreeMap<String, Variable>,
    /// What all their values came to: one limit for all, as values can double from line to line.
    budget: Budget,
}

impl Variables {
    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.by_name.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Variable)> {
        self.by_name.iter()
    }

    /// Adds what an instruction sets. `outer` has what an `ARG` without default inherits.
    fn add(&mut self, node: &Node, escape: char, outer: &Variables) {
        let span = Some(node.span);
        match &node.instruction {
            Instruction::Arg(arg) => {
                for (name, default) in &arg.arguments {
                    let inherited = || outer.get(name).and_then(|variable| variable.value.clone());
                    let value = default.as_ref().map_or_else(inherited, |text| self.expand(text, escape));
                    self.by_name.insert(name.clone(), Variable { origin: Origin::Arg, value, span });
                }
            }
            Instruction::Env(env) => {
                // All of them see what was before.
                let values = env.variables.iter().map(|pair| self.expand(&pair.value, escape));
                for (pair, value) in env.variables.iter().zip(values.collect::<Vec<_>>()) {
                    self.by_name.insert(pair.key.clone(), Variable { origin: Origin::Env, value, span });
                }
            }
            _ => {}
        }
    }

    fn expand(&self, text: &str, escape: char) -> Option<String> {
        let lookup = |name: &str| self.get(name).and_then(|variable| variable.value.clone());
        Expander::new(escape, &lookup, &self.budget).word(text).ok()
    }
}

impl Document {
    /// The variables that an instruction on a line sees; `FROM` and what is above it see the global ones.
    pub(super) fn variables(&self, line: u32) -> Variables {
        self.variables_before(line, line)
    }

    /// The variables behind an instruction that begins on a line.
    pub(super) fn variables_after(&self, line: u32) -> Variables {
        self.variables_before(line, line.saturating_add(1))
    }

    /// What is set before the line `end` and seen where `line` is.
    fn variables_before(&self, line: u32, end: u32) -> Variables {
        let global = self.global_variables(end);
        let Some(stage) = self.stage_of(line).filter(|_| !self.is_from(line)) else { return global };
        let mut found = Variables::default();
        for index in self.bases_of(stage) {
            for node in &self.file.stages[index].instructions {
                if index != stage || node.span.first < end {
                    found.add(node, self.escape(), &global);
                }
            }
        }
        found
    }

    /// Whether `FROM` begins on a line, even one that is not understood.
    fn is_from(&self, line: u32) -> bool {
        let word = self.source.line(line).and_then(|text| text.split_whitespace().next());
        word.is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
    }

    fn global_variables(&self, end: u32) -> Variables {
        let built_in =
            |name: &&str| ((*name).to_owned(), Variable { origin: Origin::Build, value: None, span: None });
        let by_name = PLATFORM.iter().map(built_in).collect();
        let mut found = Variables { by_name, budget: Budget::default() };
        for node in self.file.global_args.iter().filter(|node| node.span.first < end) {
            found.add(node, self.escape(), &Variables::default());
        }
        found
    }

    /// A stage with those that it begins with, the first of them first.
    pub(super) fn bases_of(&self, stage: usize) -> Vec<usize> {
        let mut chain = vec![stage];
        let mut at = stage;
        while let Some(base) = stages::find(&self.file.stages[..at], &self.file.stages[at].from.image, false)
        {
            chain.push(base);
            at = base;
        }
        chain.reverse();
        chain
    }

    /// Where a variable's name is in the instruction that set it.
    pub(super) fn declaration(&self, name: &str, variable: &Variable) -> Option<Range<usize>> {
        let joined = self.joined_at_line(variable.span?)?;
        let found = declared(&joined).into_iter().find(|range| &joined.text[range.clone()] == name)?;
        Some(joined.in_file(found))
    }
}

/// The names that an `ARG` or `ENV` sets, in its joined text.
pub(super) fn declared(joined: &Joined) -> Vec<Range<usize>> {
    let cut = joined.cut();
    let keyword = &joined.text[cut.keyword];
    if !["ARG", "ENV"].iter().any(|known| keyword.eq_ignore_ascii_case(known)) {
        return Vec::new();
    }
    let words = raw_words(&joined.text[cut.rest], joined.escape);
    // `ENV name value` sets one.
    let legacy = keyword.eq_ignore_ascii_case("ENV") && words.first().is_some_and(|word| !word.contains('='));
    let count = if legacy { 1 } else { words.len() };
    let name = |word: &&str| {
        let range = range_of(&joined.text, word);
        range.start..range.start + word.find('=').unwrap_or(word.len())
    };
    words.iter().take(count).map(name).collect()
}

/// The variable at an offset of a text, `$name` or `${name…`: where the name is.
pub(super) fn variable_at(text: &str, at: usize) -> Option<Range<usize>> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let (before, after) = text.split_at_checked(at)?;
    // Also when the cursor is at the `$` or at the brace.
    let skipped = after.len() - after.trim_start_matches('$').trim_start_matches('{').len();
    let start = match before.trim_end_matches(part) {
        head if head.ends_with('$') || head.ends_with("${") => head.len(),
        _ if skipped > 0 && after.starts_with('$') => at + skipped,
        head if skipped > 0 && head.ends_with('$') => at + skipped,
        _ => return None,
    };
    let length = text[start..].find(|c| !part(c)).unwrap_or(text.len() - start);
    (length > 0).then_some(start..start + length)
}
