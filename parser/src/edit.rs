//! What an editor asks about a Dockerfile: pure functions on a parsed text and a byte offset in it.

mod checks;
mod complete;
mod definition;
mod fixes;
mod hover;
mod joined;
mod place;
mod reference;
mod stages;
mod symbols;
mod target;
mod variables;

use std::ops::Range;

pub use complete::{Completion, CompletionKind, complete};
pub use definition::definition;
pub use fixes::{Fix, fixes};
pub use hover::{Hover, hover};
pub use symbols::{Symbol, SymbolKind, symbols};

use crate::pieces::{Part, Piece, PieceKind};
use crate::{Diagnostic, Dockerfile, SourceFile, Span, parse};
use joined::{Joined, range_of};

/// A text as an editor has it, parsed once for all questions about it.
#[derive(Debug, Clone)]
pub struct Document {
    source: SourceFile,
    file: Dockerfile,
    diagnostics: Vec<Diagnostic>,
}

impl Document {
    /// Parses and checks a text, which may be half written.
    pub fn new(source: SourceFile) -> Self {
        let (file, diagnostics) = parse(&source);
        let mut document = Document { source, file, diagnostics };
        document.check();
        document
    }

    /// Its name and text.
    pub fn source(&self) -> &SourceFile {
        &self.source
    }

    /// All complaints about it, in the order of lines: mistakes, and what build checks find.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    fn text(&self) -> &str {
        self.source.text()
    }

    fn escape(&self) -> char {
        self.file.directives.escape
    }

    /// The instruction whose lines hold the offset. One at the end of an instruction's last line is still in it.
    fn instruction_at(&self, at: usize) -> Option<(&Piece, &[Part])> {
        let after = self.file.pieces.partition_point(|piece| piece.bytes.start <= at);
        let piece = self.file.pieces.get(after.checked_sub(1)?)?;
        let PieceKind::Instruction(parts) = &piece.kind else { return None };
        let is_past = at >= piece.bytes.end && piece.text(&self.source).ends_with('\n');
        (!is_past).then_some((piece, parts.as_slice()))
    }

    /// The instruction that begins on a line, its lines joined.
    fn joined_at_line(&self, span: Span) -> Option<Joined> {
        let after = self.file.pieces.partition_point(|piece| piece.span.first < span.first);
        let piece = self.file.pieces[after..].iter().find(|piece| piece.span == span)?;
        let PieceKind::Instruction(parts) = &piece.kind else { return None };
        Some(Joined::new(parts, &self.source, self.escape()))
    }

    /// The bytes of the lines of `span`, from the first that is not white space to the end of the last line.
    fn bytes_of(&self, span: Span) -> Range<usize> {
        let line = |number: u32| self.source.line(number).map(|line| range_of(self.text(), line));
        let start = line(span.first).map_or(self.text().len(), |line| line.start);
        let end = line(span.last).map_or(self.text().len(), |line| line.end).max(start);
        let lines = self.text()[start..end].trim();
        if lines.is_empty() { start..end } else { range_of(self.text(), lines) }
    }
}

/// A document for tests, whose text has a `‸` where the cursor is.
#[cfg(test)]
fn at_cursor(text: &str) -> (Document, usize) {
    let at = text.find('‸').unwrap();
    (Document::new(SourceFile::new("Dockerfile", text.replace('‸', ""))), at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str, at: usize) {
        let document = Document::new(SourceFile::new("Dockerfile", text));
        let is_inside = |bytes: &Range<usize>| text.get(bytes.clone()).is_some();
        let found = hover(&document, at);
        assert!(found.is_none_or(|hover| is_inside(&hover.bytes)));
        assert!(definition(&document, at).is_none_or(|bytes| is_inside(&bytes)));
        for completion in complete(&document, at) {
            let end = text.floor_char_boundary(at);
            assert!(is_inside(&completion.bytes) && completion.bytes.end == end);
            assert!(!text[completion.bytes].contains('\n'));
        }
        for symbol in symbols(&document) {
            assert!(is_inside(&symbol.bytes) && is_inside(&symbol.name_bytes));
            assert!(
                symbol.bytes.start <= symbol.name_bytes.start && symbol.name_bytes.end <= symbol.bytes.end
            );
        }
        assert!(document.diagnostics().iter().all(|diagnostic| is_inside(&document.place(diagnostic))));
        for fix in fixes(&document, &(0..text.len())) {
            assert!(fix.rewrites.iter().all(|rewrite| is_inside(&rewrite.bytes)));
        }
    }

    proptest! {
        #[test]
        fn every_question_about_any_text_has_an_answer(
            words in prop::collection::vec(prop::sample::select(vec![
                "FROM", "x", " AS ", "y", " ", "\n", "\r\n", "\\\n", "\\", "COPY", "RUN", "ONBUILD", "ENV", "ARG", "$",
                "${", "a", "=", "\"", "'", "--", "--from=", "0", "--mount=", "type=", "cache", ",", "from=", "<<E",
                "\nE\n", "#", "ö", "𐐀", "HEALTHCHECK", "\t", "\u{feff}", "\u{a0}", "MAINTAINER", "EXPOSE 1/TCP", "CMD",
            ]), 0..24),
            at in 0..100usize,
        ) {
            all(&words.concat(), at);
        }
    }

    #[test]
    fn an_instruction_may_begin_behind_lines_without_words() {
        all("\\\n\u{a0}\nARG AS ", 0);
    }

    #[test]
    fn a_span_is_its_lines_without_white_space_around_them() {
        let document = Document::new(SourceFile::new("Dockerfile", "\n  FROM x  \r\n\n"));
        assert_eq!(document.bytes_of(Span::line(2)), 3..9);
        assert_eq!(document.bytes_of(Span::new(1, 3)), 3..9);
        assert_eq!(document.bytes_of(Span::new(7, 9)), 14..14);
    }
}
