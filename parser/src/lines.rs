//! Physical lines to logical ones: comments, continuations, heredocs.

use crate::heredoc::{Heredoc, announced};
use crate::words::is_separator;
use crate::{Diagnostic, Span};

/// One instruction's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logical {
    /// The lines joined, without heredocs.
    pub(crate) text: String,
    /// The lines, heredocs included.
    pub(crate) span: Span,
    /// The comments directly above, `#` and white space stripped.
    pub(crate) comments: Vec<String>,
    /// The texts it announced, in order.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// Cuts a text into logical lines.
pub(crate) fn logical_lines(text: &str, escape: char, diagnostics: &mut Vec<Diagnostic>) -> Vec<Logical> {
    let mut reader = Reader { lines: text.split_inclusive('\n'), number: 0, escape, diagnostics };
    let mut found = Vec::new();
    let mut comments = Vec::new();
    while let Some(line) = reader.next() {
        let line = line.trim_start();
        if let Some(comment) = line.strip_prefix('#') {
            comments.push(comment.trim().to_owned());
            continue;
        }
        let above = std::mem::take(&mut comments);
        found.extend(reader.logical(line, above));
    }
    found
}

struct Reader<'a, 'd> {
    lines: std::str::SplitInclusive<'a, char>,
    number: u32,
    escape: char,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.next()?;
        self.number = self.number.saturating_add(1);
        Some(line)
    }

    /// The logical line that begins with `line`.
    fn logical(&mut self, line: &str, comments: Vec<String>) -> Option<Logical> {
        let first = self.number;
        let (part, mut more) = self.continuation(trim_line_end(line));
        if part.is_empty() && !more {
            return None;
        }
        let mut text = part.to_owned();
        let mut empty_lines = false;
        while more {
            let Some(line) = self.next() else { break };
            let start = line.trim_start();
            if start.starts_with('#') {
                continue;
            }
            if start.is_empty() {
                empty_lines = true;
                continue;
            }
            let part;
            (part, more) = self.continuation(trim_line_end(line));
            text.push_str(part);
        }
        let span = |last| Span::new(first, last);
        if text.trim().is_empty() {
            return None;
        }
        if empty_lines {
            let message = "empty continuation lines will become errors in a future release";
            self.diagnostics.push(Diagnostic::warning("NoEmptyContinuation", span(self.number), message));
        }
        let heredocs = self.heredocs(&text, first);
        Some(Logical { text, span: span(self.number), comments, heredocs })
    }

    /// The line without its final escape, and whether it had one: an escape, then blanks, not preceded by another.
    fn continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.escape) {
            Some(part) if !part.ends_with(self.escape) => (part, true),
            _ => (line, false),
        }
    }

    fn heredocs(&mut self, text: &str, first: u32) -> Vec<Heredoc> {
        if !may_have_heredocs(text) {
            return Vec::new();
        }
        let mut heredocs = announced(text);
        for heredoc in &mut heredocs {
            if !self.fill(heredoc) {
                let message = format!("unterminated heredoc `{}`", heredoc.name);
                let help = format!("a line with nothing but `{}` ends it", heredoc.name);
                let diagnostic = Diagnostic::error(Span::new(first, self.number), message);
                self.diagnostics.push(diagnostic.with_help(Some(help)));
                break;
            }
        }
        heredocs
    }

    /// Reads lines up to the terminator; whether there was one.
    fn fill(&mut self, heredoc: &mut Heredoc) -> bool {
        while let Some(line) = self.next() {
            let mut end = trim_line_end(line);
            if heredoc.chomp {
                end = end.trim_start_matches('\t');
            }
            if end == heredoc.name {
                return true;
            }
            heredoc.content.push_str(line);
        }
        false
    }
}

fn trim_line_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Only `RUN`, `COPY`, `ADD`, and `ONBUILD` of those take heredocs.
fn may_have_heredocs(text: &str) -> bool {
    let takes = |word: &str| ["run", "copy", "add"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword));
    let mut words = text.split(is_separator).filter(|word| !word.is_empty());
    match words.next() {
        Some(word) if word.eq_ignore_ascii_case("onbuild") => words.next().is_some_and(takes),
        word => word.is_some_and(takes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Logical>, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let lines = logical_lines(text, '\\', &mut diagnostics);
        (lines, diagnostics)
    }

    fn texts(text: &str) -> Vec<String> {
        read(text).0.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn continuations_join_and_drop_comments() {
        assert_eq!(texts("  RUN a \\  \n# no\n   b\nX"), ["RUN a    b", "X"]);
        assert_eq!(texts("RUN a \\\n\n b\n"), ["RUN a  b"]);
        assert_eq!(texts("RUN a \\"), ["RUN a "]);
        assert_eq!(texts("RUN a\\\\\nX"), ["RUN a\\\\", "X"]);
    }

    #[test]
    fn empty_lines_inside_are_a_warning() {
        assert_eq!(read("RUN a \\\n\n b\n").1[0].rule, Some("NoEmptyContinuation"));
    }

    #[test]
    fn texts_follow_in_order() {
        let (lines, errors) = read("RUN <<A <<-B\na\nA\n\tb\r\n\tB\nFROM x");
        assert!(errors.is_empty());
        assert_eq!(lines[0].heredocs[0].content, "a\n");
        assert_eq!(lines[0].heredocs[1].content, "\tb\r\n");
        assert_eq!((lines[0].span, lines[1].span), (Span::new(1, 5), Span::line(6)));
    }

    #[test]
    fn an_open_text_is_an_error() {
        assert_eq!(read("RUN <<A\na\n").1[0].message, "unterminated heredoc `A`");
        assert!(read("CMD <<A\n").1.is_empty());
    }

    #[test]
    fn comments_directly_above_are_kept() {
        let (lines, _) = read("# gone\n\n# base the base\nFROM x AS base\n");
        assert_eq!(lines[0].comments, ["base the base"]);
    }
}
