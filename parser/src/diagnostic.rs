//! Complaints about a Dockerfile, and how they look.

use std::borrow::Cow;
use std::fmt::Write;

use kiln_graph::url::redact;

use crate::{SourceFile, Span};

/// Lines shown before and after the one that is meant; half as many where several are.
const CONTEXT: u32 = 2;
/// Longest excerpt; a heredoc of thousands of lines is cut.
const MAX_EXCERPT: u32 = 20;
/// Longest line of an excerpt in characters.
const MAX_LINE: usize = 400;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// There is no build.
    Error,
}

/// One complaint about one place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The build check that found it, for example `MaintainerDeprecated`.
    pub rule: Option<&'static str>,
    /// Where; `None` for what no line is to blame for.
    pub span: Option<Span>,
    /// What: lower case, no full stop, literals in backticks.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Diagnostic { severity: Severity::Error, rule: None, span: Some(span), message, help: None }
    }

    /// A warning at a place.
    pub fn warning(rule: &'static str, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Diagnostic { severity: Severity::Warning, rule: Some(rule), span: Some(span), message, help: None }
    }

    /// An error that no line is to blame for.
    pub fn global(message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Error, rule: None, span: None, message: message.into(), help: None }
    }

    /// The same with a hint.
    pub fn with_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Whether there is no build.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// One line, `Rule: message (line N)`, as BuildKit's progress has it.
    pub fn short(&self) -> String {
        let rule = self.rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
        let line = self.span.map(|span| format!(" (line {})", span.first)).unwrap_or_default();
        format!("{rule}{}{line}", self.message)
    }

    /// The lines in question as BuildKit prints them, then the message, then the hint; ends without a line feed.
    pub fn render(&self, source: &SourceFile, color: bool) -> String {
        let mut out = self.span.map(|span| excerpt(source, span)).unwrap_or_default();
        let (word, paint) = match self.severity {
            Severity::Error => ("error", "\x1b[1;31m"),
            Severity::Warning => ("warning", "\x1b[1;33m"),
        };
        let (on, off) = if color { (paint, "\x1b[0m") } else { ("", "") };
        let rule = self.rule.map(|rule| format!(" ({rule})")).unwrap_or_default();
        let _ = write!(out, "{on}{word}:{off} {}{rule}", visible(&self.message));
        if let Some(help) = &self.help {
            let _ = write!(out, "\nhint: {}", visible(help));
        }
        out
    }
}

/// `name:line`, a rule, the lines around `span` with `>>>` at those inside, a rule.
/// Passwords in URLs are not shown: builds fail in public logs.
pub fn excerpt(source: &SourceFile, span: Span) -> String {
    const RULE: &str = "--------------------\n";
    let first = span.first.max(1);
    let last = span.last.clamp(first, first.saturating_add(MAX_EXCERPT));
    let mut out = format!("{}:{first}\n{RULE}", visible(source.name()));
    let context = if first == last { CONTEXT } else { CONTEXT / 2 };
    let from = first.saturating_sub(context).max(1);
    let to = last.saturating_add(context);
    for number in from..=to {
        let Some(line) = source.line(number) else { break };
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        let _ = writeln!(out, "{number:>4} | {mark} {}", visible(&redact(&shortened(line))));
    }
    out + RULE
}

/// A line that fits the eye.
fn shortened(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(MAX_LINE) {
        Some((at, _)) => format!("{}…", &line[..at]).into(),
        None => line.into(),
    }
}

/// Text whose control characters cannot reach the terminal and whose direction is what it seems.
fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| {
        let direction =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        direction || (c.is_control() && !matches!(c, '\t' | '\n'))
    };
    if !text.contains(hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_lines() {
        let source = SourceFile::new("Dockerfile", "FROM debian\n\nRUNN echo\n");
        let diagnostic = Diagnostic::error(Span::line(3), "unknown instruction `RUNN`")
            .with_help(Some("did you mean `RUN`?".to_owned()));
        let expected = "Dockerfile:3\n\
            --------------------\n   1 |     FROM debian\n   2 |     \n   3 | >>> RUNN echo\n   4 |     \n\
            --------------------\nerror: unknown instruction `RUNN`\nhint: did you mean `RUN`?";
        assert_eq!(diagnostic.render(&source, false), expected);
    }

    #[test]
    fn what_a_file_says_does_not_steer_the_terminal() {
        let source = SourceFile::new("D\u{1b}", format!("RUN \u{1b}[2J\u{202e}\t{}", "x".repeat(1000)));
        let shown = Diagnostic::error(Span::line(1), "`a\u{9b}`").render(&source, false);
        assert!(shown.contains("\\u{1b}[2J\\u{202e}\txxx") && shown.contains("`a\\u{9b}`"), "{shown}");
        assert!(shown.contains("x…\n") && shown.len() < 700, "{shown}");
    }

    #[test]
    fn places_outside_the_text_are_harmless() {
        let source = SourceFile::new("D", "a");
        assert!(excerpt(&source, Span::new(0, 0)).contains(">>> a"));
        assert!(!excerpt(&source, Span::new(u32::MAX, u32::MAX)).contains(">>>"));
    }
}
