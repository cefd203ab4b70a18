//! The lines of a file as they stand: comments, empty lines, instructions with all that is inside them.

use std::ops::Range;

use crate::{SourceFile, Span};

/// A run of lines. The pieces of a file, in order, are its whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What the lines are.
    pub kind: PieceKind,
    /// Where they are in the text, line feeds included.
    pub bytes: Range<usize>,
    /// The same in lines.
    pub span: Span,
}

/// What a run of lines is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceKind {
    /// U+FEFF in front of the first line.
    ByteOrderMark,
    /// One of `# syntax=`, `# escape=` and `# check=` a line.
    Directives,
    /// A comment a line.
    Comments,
    /// Nothing but white space.
    Blank,
    /// One instruction, by its lines.
    Instruction(Vec<Part>),
    /// What was left when a limit of the parser was reached.
    Unread,
}

/// A line inside an instruction, or the lines of a heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Where it is in the text, line feeds included.
    pub bytes: Range<usize>,
}

/// What a line inside an instruction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// Words of the instruction; the last of these lines has no continuation.
    Text,
    /// A comment between continued lines.
    Comment,
    /// An empty line between continued lines.
    Blank,
    /// The lines of a heredoc.
    Body,
    /// The line that ends a heredoc.
    Terminator,
}

impl Piece {
    /// Its text; empty where `source` is not the file that it came from.
    pub fn text<'s>(&self, source: &'s SourceFile) -> &'s str {
        source.text().get(self.bytes.clone()).unwrap_or_default()
    }
}

impl Part {
    /// Its text; empty where `source` is not the file that it came from.
    pub fn text<'s>(&self, source: &'s SourceFile) -> &'s str {
        source.text().get(self.bytes.clone()).unwrap_or_default()
    }
}

/// Pieces in the making.
#[derive(Debug, Default)]
pub(crate) struct Pieces(Vec<Piece>);

impl Pieces {
    /// Adds lines; a run of one kind is one piece.
    pub(crate) fn add(&mut self, kind: PieceKind, bytes: Range<usize>, span: Span) {
        match self.0.last_mut() {
            Some(last) if last.kind == kind && !matches!(kind, PieceKind::Instruction(_)) => {
                last.bytes.end = bytes.end;
                last.span.last = span.last;
            }
            _ => self.0.push(Piece { kind, bytes, span }),
        }
    }

    pub(crate) fn finish(self) -> Vec<Piece> {
        self.0
    }
}
