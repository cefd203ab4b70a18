//! Where a complaint is, as exactly as is known.

use std::ops::Range;

use super::Document;
use crate::Diagnostic;
use crate::pieces::PartKind;

impl Document {
    /// The bytes that a complaint is about: the word that was probably meant otherwise, else the instruction without
    /// its heredocs. One about the whole file has none and is at its start.
    pub fn place(&self, diagnostic: &Diagnostic) -> Range<usize> {
        let Some(span) = diagnostic.span else { return 0..0 };
        let lines = self.bytes_of(span);
        let word = suggestion(diagnostic).and_then(|(wrong, _)| self.word(wrong, &lines));
        word.unwrap_or_else(|| self.without_heredocs(lines))
    }

    /// The first place of a word in some lines.
    pub(super) fn word(&self, word: &str, lines: &Range<usize>) -> Option<Range<usize>> {
        let start = lines.start + self.text()[lines.clone()].find(word)?;
        Some(start..start + word.len())
    }

    fn without_heredocs(&self, lines: Range<usize>) -> Range<usize> {
        let Some((_, parts)) = self.instruction_at(lines.start) else { return lines };
        let Some(text) = parts.iter().rev().find(|part| part.kind == PartKind::Text) else { return lines };
        let end = text.bytes.start + text.text(&self.source).trim_end().len();
        lines.start..end.clamp(lines.start, lines.end)
    }
}

/// The word that is wrong and the one that was probably meant, where a complaint has such a hint.
pub(super) fn suggestion(diagnostic: &Diagnostic) -> Option<(&str, &str)> {
    let right = diagnostic.help.as_deref()?.strip_prefix("did you mean `")?.strip_suffix("`?")?;
    let wrong = diagnostic.message.split('`').nth(1)?;
    (!wrong.is_empty()).then_some((wrong, right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    fn check(text: &str, place: &str) {
        let document = Document::new(SourceFile::new("Dockerfile", text));
        let found = document.place(&document.diagnostics()[0]);
        assert_eq!(&document.text()[found], place, "{text}");
    }

    #[test]
    fn a_word_an_instruction_or_nothing() {
        check("FROM x\n  RUNN a \\\n b\n", "RUNN");
        check("FROM x\nCOPY --frm=x a b\n", "--frm");
        check("FROM x\nRUN --network=x \\\n  a <<E\nb\nE\n", "RUN --network=x \\\n  a <<E");
        check("FROM x\nMAINTAINER a\n", "MAINTAINER a");
        check("ARG x\n", "");
    }
}
