//! A tree back to the text it was read from, byte for byte.

use crate::SourceFile;
use crate::ast::Dockerfile;
use crate::pieces::{Part, PieceKind};

/// The text of a tree that was parsed from `source`: `print(&parse(source).0, source)` is `source.text()`.
///
/// What belongs to no instruction is printed from its piece, an instruction from its lines: comments, empty lines,
/// broken lines and line ends are where they were.
pub fn print(file: &Dockerfile, source: &SourceFile) -> String {
    let mut text = String::with_capacity(source.text().len());
    for piece in &file.pieces {
        match &piece.kind {
            PieceKind::Instruction(parts) => text.extend(parts.iter().map(|part: &Part| part.text(source))),
            _ => text.push_str(piece.text(source)),
        }
    }
    text
}
