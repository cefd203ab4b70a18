//! The closed set of operations that a vertex can be.

use crate::{ExecOp, FileOp, SourceOp};

/// What a vertex does. Its inputs are beside it, in [`crate::Vertex`], and are named here by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Brings files in from outside: an image, a context, a repository, a download.
    Source(SourceOp),
    /// Runs a process over mounts.
    Exec(ExecOp),
    /// Edits files without running anything.
    File(FileOp),
    /// Lays every input over the one before.
    Merge(MergeOp),
    /// What changed from one input to the other.
    Diff(DiffOp),
}

/// Lays inputs 0, 1, … over each other, lowest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergeOp {}

/// The changes that lead from `lower` to `upper`; `None` is the empty filesystem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffOp {
    /// Vertex input that is the old state.
    pub lower: Option<u32>,
    /// Vertex input that is the new state.
    pub upper: Option<u32>,
}

impl Op {
    /// How many outputs the operation has; edges may name `0..outputs()`.
    pub fn outputs(&self) -> u32 {
        match self {
            Op::Exec(exec) => exec.outputs(),
            Op::Source(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => 1,
        }
    }

    /// The largest input index that the operation names, if it names one.
    pub(crate) fn highest_input(&self) -> Option<u32> {
        match self {
            Op::Source(_) | Op::Merge(_) => None,
            Op::Exec(exec) => exec.mounts.iter().filter_map(crate::Mount::input).max(),
            Op::File(file) => file.highest_input(),
            Op::Diff(DiffOp { lower, upper }) => (*lower).max(*upper),
        }
    }

    /// A word for lists and graphs: `source`, `exec`, `file`, `merge` or `diff`.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Source(_) => "source",
            Op::Exec(_) => "exec",
            Op::File(_) => "file",
            Op::Merge(_) => "merge",
            Op::Diff(_) => "diff",
        }
    }
}
