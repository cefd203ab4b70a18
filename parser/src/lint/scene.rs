//! What rules get to see.

use kiln_graph::ignore::IgnoreFile;
use kiln_oci::Platform;

use super::Place;
use crate::Span;
use crate::ast::{Dockerfile, Node, Stage};
use crate::expand::{Budget, Expander, Watched};
use crate::plan::GlobalArgs;

/// A whole file.
pub(crate) struct FileScene<'a> {
    pub(crate) file: &'a Dockerfile,
    /// What `FROM` may use where no `--build-arg` is given; `None` where that is not known.
    pub(crate) defaults: Option<&'a GlobalArgs>,
}

/// One `FROM`.
pub(crate) struct FromScene<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) stage: &'a Stage,
    pub(crate) args: &'a GlobalArgs,
    pub(crate) budget: &'a Budget,
}

impl FromScene<'_> {
    /// Expands a part of the `FROM`.
    pub(super) fn expand(&self, text: &str) -> Watched {
        let lookup = |name: &str| self.args.get(name);
        Watched::new(text, self.file.directives.escape, &lookup, self.budget)
    }
}

/// An image that was looked up.
pub(crate) struct BaseScene<'a> {
    /// The instruction that names it.
    pub(crate) span: Span,
    /// As it is named there, expanded.
    pub(crate) image: &'a str,
    /// The platform that was asked for.
    pub(crate) expected: &'a Platform,
    /// The platform that its configuration claims.
    pub(crate) actual: &'a Platform,
}

/// One instruction of a stage that is built.
pub(crate) struct InstructionScene<'a> {
    /// Those before it in its stage, triggers included.
    pub(crate) earlier: &'a [&'a Node],
    pub(crate) node: &'a Node,
    /// The variables before it.
    pub(crate) variables: &'a [(String, String)],
    /// Variables that it used although nobody defined them, once for each use.
    pub(crate) undefined: Vec<String>,
    /// Whether the stage has a `SHELL`, its own or its base's.
    pub(crate) has_shell: bool,
    /// Whether no `WORKDIR` of this file came before, bases that are stages included.
    pub(crate) first_workdir: bool,
    /// The ignore file of the context.
    pub(crate) ignore: Option<&'a IgnoreFile>,
    pub(crate) escape: char,
    pub(crate) budget: &'a Budget,
}

impl<'a> InstructionScene<'a> {
    pub(super) fn place(&self) -> Place<'a> {
        self.node.into()
    }

    /// The keyword as written.
    pub(super) fn keyword(&self) -> &'a str {
        self.node.keyword()
    }

    /// A text with its variables replaced.
    pub(super) fn word(&self, text: &str) -> Option<String> {
        self.expander(|expander| expander.word(text).ok())
    }

    /// The words of a text, with variables replaced.
    pub(super) fn words(&self, text: &str) -> Vec<String> {
        self.expander(|expander| expander.words(text).unwrap_or_default())
    }

    fn expander<T>(&self, run: impl FnOnce(Expander<'_>) -> T) -> T {
        let find = |name: &str| self.variables.iter().find(|(known, _)| known == name);
        let lookup = |name: &str| find(name).map(|(_, value)| value.clone());
        run(Expander::new(self.escape, &lookup, self.budget))
    }
}
