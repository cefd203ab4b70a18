//! Variables of a stage and the expansion of its instructions.

use super::stage::StageState;
use crate::expand::{Budget, ExpandError, Expander, Unset};
use crate::{Diagnostic, Node};

/// `name=value` pairs in order of first setting.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(super) fn from_env(env: &[String]) -> Self {
        let mut variables = Variables::default();
        for entry in env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            variables.set(name, value);
        }
        variables
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn to_env(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// Expands the parts of one instruction, all in the environment before it.
pub(super) struct Scope<'a> {
    pub(super) node: &'a Node,
    pub(super) variables: Variables,
    pub(super) escape: char,
    pub(super) budget: &'a Budget,
}

impl<'a> Scope<'a> {
    pub(super) fn new(node: &'a Node, state: &StageState, escape: char, budget: &'a Budget) -> Self {
        Scope { node, variables: state.variables.clone(), escape, budget }
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
        let lookup = |name: &str| self.variables.get(name).map(str::to_owned);
        let expander = Expander::new(self.escape, &lookup, self.budget);
        let short = |text: &str| text.chars().take(200).collect::<String>();
        run(expander).map_err(|error| self.error(format!("failed to process `{}`: {error}", short(text))))
    }

    pub(super) fn word(&self, text: &str) -> Result<String, Diagnostic> {
        self.with(|expander| expander.word(text), text)
    }

    pub(super) fn optional(&self, text: Option<&String>) -> Result<Option<String>, Diagnostic> {
        text.map(|text| self.word(text)).transpose()
    }

    pub(super) fn words(&self, text: &str) -> Result<Vec<String>, Diagnostic> {
        self.with(|expander| expander.words(text), text)
    }

    /// A heredoc's text: quotes are characters, the escape is always a backslash.
    pub(super) fn document(&self, text: &str) -> Result<String, Diagnostic> {
        self.with(|expander| Expander { escape: '\\', ignore_quotes: true, ..expander }.word(text), text)
    }

    /// The instruction as progress shows it: keyword in upper case, known variables replaced.
    pub(super) fn title(&self) -> String {
        let code = &self.node.code;
        let shown = self
            .with(|expander| Expander { raw_quotes: true, unset: Unset::Kept, ..expander }.word(code), code);
        let shown = shown.unwrap_or_else(|_| code.clone());
        let end = shown.find(char::is_whitespace).unwrap_or(shown.len());
        format!("{}{}", shown[..end].to_ascii_uppercase(), &shown[end..])
    }
}
