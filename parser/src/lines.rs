//! Physical lines to logical ones: comments, continuations, heredocs.

use std::ops::Range;

use crate::heredoc::{Heredoc, announced};
use crate::pieces::{Part, PartKind, PieceKind, Pieces};
use crate::words::is_separator;
use crate::{Diagnostic, Span};

/// One instruction's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logical {
    /// The lines joined, without heredocs.
    pub(crate) text: String,
    /// The lines, heredocs included.
    pub(crate) span: Span,
    /// The comments above, back to the instruction before or to an empty comment; `#` and white space stripped.
    pub(crate) comments: Vec<String>,
    /// The texts it announced, in order.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// Cuts a text into logical lines, one at a time, and notes what every line of it was.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    /// Where the next physical line begins.
    at: usize,
    /// The number of the line that was read last.
    number: u32,
    escape: char,
    /// As many first lines are directives.
    directives: u32,
    pieces: Pieces,
    comments: Vec<String>,
    complaints: Vec<Diagnostic>,
}

impl<'a> Lines<'a> {
    /// Reads `text`, whose first `directives` lines are directives.
    pub(crate) fn new(text: &'a str, escape: char, directives: u32) -> Self {
        let mut pieces = Pieces::default();
        let mark = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        if mark > 0 {
            pieces.add(PieceKind::ByteOrderMark, 0..mark, Span::line(1));
        }
        let (comments, complaints) = (Vec::new(), Vec::new());
        Lines { text, at: mark, number: 0, escape, directives, pieces, comments, complaints }
    }

    /// What was wrong since the last call.
    pub(crate) fn complaints(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.complaints)
    }

    /// Every line that was read; the rest of the text is one piece.
    pub(crate) fn finish(mut self) -> Pieces {
        if self.at < self.text.len() {
            let rest = self.text[self.at..].split_inclusive('\n').count();
            let last = self.number.saturating_add(u32::try_from(rest).unwrap_or(u32::MAX));
            let span = Span::new(self.number.saturating_add(1), last);
            self.pieces.add(PieceKind::Unread, self.at..self.text.len(), span);
        }
        self.pieces
    }

    /// The next physical line, with its line feed.
    fn line(&mut self) -> Option<Range<usize>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let line = self.at..self.at + length;
        self.at = line.end;
        self.number = self.number.saturating_add(1);
        Some(line)
    }

    /// The logical line that begins with the physical one at `line`.
    fn logical(&mut self, line: Range<usize>) -> Option<Logical> {
        let first = self.number;
        let mut parts = Vec::new();
        let mut text = String::new();
        self.words(line.clone(), &mut text, &mut parts);
        let span = Span::new(first, self.number);
        if text.trim().is_empty() {
            self.pieces.add(PieceKind::Instruction(parts), line.start..self.at, span);
            let message = "a line is continued, but there is no instruction";
            self.complaints.push(Diagnostic::error(span, message));
            return None;
        }
        let heredocs = self.heredocs(&text, first, &mut parts);
        let span = Span::new(first, self.number);
        self.pieces.add(PieceKind::Instruction(parts), line.start..self.at, span);
        Some(Logical { text, span, comments: std::mem::take(&mut self.comments), heredocs })
    }

    /// Joins a line and those that continue it.
    fn words(&mut self, line: Range<usize>, text: &mut String, parts: &mut Vec<Part>) {
        let (part, mut more) = continuation(trim_line_end(self.text[line.clone()].trim_start()), self.escape);
        text.push_str(part);
        parts.push(Part { kind: PartKind::Text, bytes: line });
        while more {
            let Some(line) = self.line() else { break };
            let start = self.text[line.clone()].trim_start();
            let kind = match start.as_bytes().first() {
                Some(b'#') => PartKind::Comment,
                None => PartKind::Blank,
                Some(_) => PartKind::Text,
            };
            if kind == PartKind::Text {
                let part;
                (part, more) = continuation(trim_line_end(&self.text[line.clone()]), self.escape);
                text.push_str(part);
            }
            parts.push(Part { kind, bytes: line });
        }
    }

    fn heredocs(&mut self, text: &str, first: u32, parts: &mut Vec<Part>) -> Vec<Heredoc> {
        if !may_have_heredocs(text) {
            return Vec::new();
        }
        let mut heredocs = announced(text);
        for heredoc in &mut heredocs {
            if !self.fill(heredoc, parts) {
                let message = format!("unterminated heredoc `{}`", heredoc.name);
                let help = how_to_end(heredoc);
                let diagnostic = Diagnostic::error(Span::new(first, self.number), message);
                self.complaints.push(diagnostic.with_help(Some(help)));
                break;
            }
        }
        heredocs
    }

    /// Reads lines up to the terminator; whether there was one.
    fn fill(&mut self, heredoc: &mut Heredoc, parts: &mut Vec<Part>) -> bool {
        let start = self.at;
        while let Some(line) = self.line() {
            let text = &self.text[line.clone()];
            let mut end = trim_line_end(text);
            if heredoc.chomp {
                end = end.trim_start_matches('\t');
            }
            if end == heredoc.name {
                heredoc.content.push_str(&self.text[start..line.start]);
                parts.push(Part { kind: PartKind::Body, bytes: start..line.start });
                parts.push(Part { kind: PartKind::Terminator, bytes: line });
                return true;
            }
        }
        heredoc.content.push_str(&self.text[start..]);
        parts.push(Part { kind: PartKind::Body, bytes: start..self.text.len() });
        false
    }
}

/// What a heredoc without an end lacks.
fn how_to_end(heredoc: &Heredoc) -> String {
    let name = &heredoc.name;
    if heredoc.content.lines().any(|line| line.trim() == name) {
        let chomp = if heredoc.chomp { "" } else { "; `<<-` allows tabs" };
        return format!("the `{name}` that ends it has no blanks around it{chomp}");
    }
    format!("a line with nothing but `{name}` ends it")
}

impl Iterator for Lines<'_> {
    type Item = Logical;

    fn next(&mut self) -> Option<Logical> {
        while let Some(line) = self.line() {
            let start = self.text[line.clone()].trim_start();
            if start.is_empty() {
                self.pieces.add(PieceKind::Blank, line, Span::line(self.number));
                continue;
            }
            let Some(comment) = start.strip_prefix('#') else {
                match self.logical(line) {
                    Some(logical) => return Some(logical),
                    None => continue,
                }
            };
            let (at, comment) = (Span::line(self.number), comment.trim());
            if self.number <= self.directives {
                self.pieces.add(PieceKind::Directives, line, at);
                continue;
            }
            // An empty comment parts what is above it from what is below.
            match comment {
                "" => self.comments.clear(),
                _ => self.comments.push(comment.to_owned()),
            }
            self.pieces.add(PieceKind::Comments, line, at);
        }
        None
    }
}

/// What may stand in front of a text to say that it is UTF-8.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// The line without its final escape, and whether it had one: an escape, then blanks, not preceded by another.
pub(crate) fn continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(part) if !part.ends_with(escape) => (part, true),
        _ => (line, false),
    }
}

/// The line without its line feed and carriage returns.
pub(crate) fn trim_line_end(line: &str) -> &str {
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
        let mut lines = Lines::new(text, '\\', 0);
        let found: Vec<Logical> = lines.by_ref().collect();
        (found, lines.complaints())
    }

    fn texts(text: &str) -> Vec<String> {
        read(text).0.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn items_4_to_7_continuations_join_and_drop_comments() {
        assert_eq!(texts("  RUN a \\  \n# no\n   b\nX"), ["RUN a    b", "X"]);
        assert_eq!(texts("RUN a \\\n\n b\n"), ["RUN a  b"]);
        assert_eq!(texts("RUN a \\"), ["RUN a "]);
        assert_eq!(texts("RUN a\\\\\nX"), ["RUN a\\\\", "X"]);
        assert_eq!(texts("RUN a\\\\\\\nX"), ["RUN a\\\\\\", "X"]);
    }

    #[test]
    fn item_8_a_line_may_be_long() {
        let long = "a".repeat(1 << 20);
        let (lines, errors) = read(&format!("RUN <<E\n{long}\nE\nRUN {long}\n"));
        assert_eq!((lines[0].heredocs[0].content.len(), lines[1].text.len()), ((1 << 20) + 1, (1 << 20) + 4));
        assert!(errors.is_empty());
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
    fn comments_above_are_kept_back_to_an_empty_one() {
        let (lines, _) = read("# gone\n#\n# one\n\n# base the base\nFROM x AS base\nRUN a\n");
        assert_eq!(lines[0].comments, ["one", "base the base"]);
        assert!(lines[1].comments.is_empty());
    }

    #[test]
    fn every_byte_is_in_a_piece() {
        let text = "\u{feff}# a\n\n \nRUN x \\\n # c\n\n <<E\nbody\nE\n\\\n\nUSER";
        let mut lines = Lines::new(text, '\\', 1);
        assert_eq!(lines.by_ref().count(), 2);
        let pieces = lines.finish().finish();
        let joined: String = pieces.iter().map(|piece| &text[piece.bytes.clone()]).collect();
        assert_eq!(joined, text);
        let PieceKind::Instruction(parts) = &pieces[3].kind else { panic!("{pieces:?}") };
        use PartKind::{Blank, Body, Comment, Terminator, Text};
        let kinds: Vec<PartKind> = parts.iter().map(|part| part.kind).collect();
        assert_eq!(kinds, [Text, Comment, Blank, Text, Body, Terminator]);
    }
}
