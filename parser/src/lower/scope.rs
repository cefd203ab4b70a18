//! The expansion of one instruction.

use std::cell::RefCell;

use super::stage::StageState;
use super::variables::Variables;
use crate::expand::{Budget, ExpandError, Expander, Unset};
use crate::{Diagnostic, Node, Plan};

/// Expands the parts of one instruction, all in the environment before it.
pub(super) struct Scope<'a> {
    pub(super) node: &'a Node,
    pub(super) variables: Variables,
    pub(super) escape: char,
    pub(super) budget: &'a Budget,
    /// Names that were looked for in vain, once for each text.
    undefined: RefCell<Vec<String>>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(node: &'a Node, state: &StageState, escape: char, budget: &'a Budget) -> Self {
        let undefined = RefCell::default();
        Scope { node, variables: state.variables.clone(), escape, budget, undefined }
    }

    /// A complaint about the instruction.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.node.span, message)
    }

    fn with<T>(
        &self,
        run: impl FnOnce(Expander<'_>) -> Result<T, ExpandError>,
        text: &str,
    ) -> Result<T, Diagnostic> {
        let lookup = |name: &str| self.get(name);
        run(Expander::new(self.escape, &lookup, self.budget)).map_err(|error| self.explain(&error, text))
    }

    fn explain(&self, error: &ExpandError, text: &str) -> Diagnostic {
        let short: String = text.chars().take(200).collect();
        self.error(format!("failed to process `{short}`: {error}"))
    }

    /// Runs an expansion in an environment and notes which variables it misses there.
    fn watched(
        &self,
        get: impl Fn(&str) -> Option<String>,
        run: impl FnOnce(Expander<'_>) -> Result<String, ExpandError>,
        text: &str,
    ) -> Result<String, Diagnostic> {
        let first = self.undefined.borrow().len();
        let lookup = |name: &str| {
            let value = get(name);
            let mut undefined = self.undefined.borrow_mut();
            if value.is_none() && !undefined[first..].iter().any(|known| known == name) {
                undefined.push(name.to_owned());
            }
            value
        };
        run(Expander::new(self.escape, &lookup, self.budget)).map_err(|error| self.explain(&error, text))
    }

    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(str::to_owned)
    }

    pub(super) fn word(&self, text: &str) -> Result<String, Diagnostic> {
        self.watched(|name| self.get(name), |expander| expander.word(text), text)
    }

    pub(super) fn optional(&self, text: Option<&String>) -> Result<Option<String>, Diagnostic> {
        text.map(|text| self.word(text)).transpose()
    }

    /// The same in an environment of which the state's changes have been made already.
    pub(super) fn word_after(&self, state: &StageState, text: &str) -> Result<String, Diagnostic> {
        let first = self.undefined.borrow().len();
        let get = |name: &str| state.changes.get(name).map(str::to_owned).or_else(|| self.get(name));
        let word = self.watched(get, |expander| expander.word(text), text);
        let mut missed = self.undefined.borrow_mut().split_off(first);
        missed.retain(|name| !state.declares(name));
        self.undefined.borrow_mut().append(&mut missed);
        word
    }

    /// Takes the names that were looked for in vain.
    pub(super) fn take_undefined(&self) -> Vec<String> {
        self.undefined.take()
    }

    /// The stage or image of a `--from`, which may use global arguments too.
    pub(super) fn from(&self, plan: &Plan, text: &str) -> Result<String, Diagnostic> {
        if !text.contains('$') {
            return Ok(text.to_owned());
        }
        let lookup =
            |name: &str| self.variables.get(name).map(str::to_owned).or_else(|| plan.global.get(name));
        let expander = Expander { unset: Unset::Refused, ..Expander::new(self.escape, &lookup, self.budget) };
        expander.word(text).map_err(|error| super::constants::explain(&error, text, self.node))
    }

    pub(super) fn words(&self, text: &str) -> Result<Vec<String>, Diagnostic> {
        self.with(|expander| expander.words(text), text)
    }

    /// A heredoc's text: quotes are characters, the escape is always a backslash.
    pub(super) fn document(&self, text: &str) -> Result<String, Diagnostic> {
        let run =
            |expander: Expander<'_>| Expander { escape: '\\', ignore_quotes: true, ..expander }.word(text);
        self.watched(|name| self.get(name), run, text)
    }

    /// The instruction as progress shows it: keyword in upper case, known variables replaced,
    /// passwords in URLs not.
    pub(super) fn title(&self) -> String {
        let code = &self.node.code;
        let shown = self
            .with(|expander| Expander { raw_quotes: true, unset: Unset::Kept, ..expander }.word(code), code);
        let shown = shown.unwrap_or_else(|_| code.clone());
        let shown = kiln_graph::url::redact(&shown);
        let end = shown.find(char::is_whitespace).unwrap_or(shown.len());
        format!("{}{}", shown[..end].to_ascii_uppercase(), &shown[end..])
    }
}
