//! Where a rule found something.

use crate::Span;
use crate::ast::{Node, Stage};

/// The lines of an instruction and the comments above it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) span: Span,
    pub(crate) comments: &'a [String],
}

impl<'a> From<&'a Node> for Place<'a> {
    fn from(node: &'a Node) -> Self {
        Place { span: node.span, comments: &node.comments }
    }
}

impl<'a> From<&'a Stage> for Place<'a> {
    fn from(stage: &'a Stage) -> Self {
        Place { span: stage.span, comments: &stage.comments }
    }
}
