//! The usual form of one instruction, chosen by asking the parser whether it still says the same.

use crate::SourceFile;
use crate::flags::{flag_word, split};
use crate::instruction::{Parsed, parse};
use crate::lines::{Lines, continuation, trim_line_end};
use crate::pieces::{Part, PartKind};
use crate::words::is_separator;

/// What a continued line begins with.
const INDENT: &str = "    ";

/// How the lines after the first begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indent {
    /// All alike.
    Usual,
    /// As the author has it.
    Kept,
}

/// The first of three forms that says the same as `text`, the instruction of these `parts`: all of the usual form,
/// that with the author's indentation, or what is there. White space inside a script or a quoted string is part of
/// what is said; where it would change, the indentation of the whole instruction stays.
pub(super) fn usual(parts: &[Part], text: &str, source: &SourceFile, escape: char) -> String {
    let meaning = meaning(text, escape);
    [Indent::Usual, Indent::Kept]
        .into_iter()
        .map(|indent| tidy(parts, source, escape, indent))
        .find(|tidied| self::meaning(tidied, escape) == meaning)
        .unwrap_or_else(|| format!("{}\n", text.strip_suffix('\n').unwrap_or(text)))
}

/// What the parser reads.
fn meaning(text: &str, escape: char) -> Option<Parsed> {
    let logical = Lines::new(text, escape, 0).next()?;
    parse(&split(&logical.text, escape), logical.heredocs, escape).ok()
}

fn tidy(parts: &[Part], source: &SourceFile, escape: char, indent: Indent) -> String {
    let mut tidy = Tidy { out: String::new(), escape, head: true, fixed: None };
    for (at, part) in parts.iter().enumerate() {
        let line = part.text(source);
        match part.kind {
            PartKind::Text => tidy.text(line, if at == 0 { None } else { Some(indent) }),
            PartKind::Comment if indent == Indent::Usual => {
                tidy.out.extend([INDENT, line.trim(), "\n"]);
            }
            PartKind::Comment => tidy.out.extend([line.trim_end(), "\n"]),
            PartKind::Blank => {}
            PartKind::Body | PartKind::Terminator => tidy.out.push_str(line),
        }
    }
    if !tidy.out.ends_with('\n') {
        tidy.out.push('\n');
    }
    tidy.out
}

/// The lines so far.
struct Tidy {
    out: String,
    escape: char,
    /// Nothing but the keyword and flags was seen.
    head: bool,
    /// A word that is in upper case too: how many words are before it, and which it may be.
    fixed: Option<(usize, &'static [&'static str])>,
}

impl Tidy {
    /// One line; the first has no indentation.
    fn text(&mut self, line: &str, indent: Option<Indent>) {
        let line = trim_line_end(line);
        let (content, continued) = continuation(line, self.escape);
        let content = if continued { content } else { content.trim_end() };
        let words = content.trim_start();
        match indent {
            Some(Indent::Usual) => self.out.push_str(INDENT),
            Some(Indent::Kept) => self.out.push_str(&content[..content.len() - words.len()]),
            None => {}
        }
        let rest = match indent {
            None => self.keyword(words),
            Some(_) => words,
        };
        let rest = if self.head { self.flags(rest) } else { rest };
        self.arguments(rest);
        if continued {
            self.out.push(self.escape);
        }
        self.out.push('\n');
    }

    /// The keyword, in upper case; what follows it.
    fn keyword<'l>(&mut self, line: &'l str) -> &'l str {
        let end = line.find(is_separator).unwrap_or(line.len());
        let keyword = line[..end].to_ascii_uppercase();
        self.fixed = match keyword.as_str() {
            "FROM" => Some((1, &["AS"])),
            "HEALTHCHECK" => Some((0, &["CMD", "NONE"])),
            _ => None,
        };
        self.out.push_str(&keyword);
        self.gap(&line[end..])
    }

    /// The flags, one space after each; what follows them.
    fn flags<'l>(&mut self, mut rest: &'l str) -> &'l str {
        while rest.starts_with("--") {
            let (word, after) = flag_word(rest, self.escape);
            self.out.push_str(&rest[..rest.len() - after.len()]);
            rest = self.gap(after);
            if word == "--" {
                self.head = false;
                return rest;
            }
        }
        self.head = rest.is_empty();
        rest
    }

    /// One space for many, except at the end of a line; what follows.
    fn gap<'l>(&mut self, text: &'l str) -> &'l str {
        let rest = text.trim_start();
        let blanks = &text[..text.len() - rest.len()];
        self.out.push_str(if rest.is_empty() || blanks.is_empty() { blanks } else { " " });
        rest
    }

    /// What follows the flags, as it is but for words that belong to the language.
    fn arguments(&mut self, mut rest: &str) {
        while let Some((before, known)) = self.fixed.filter(|_| !rest.is_empty()) {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            match known.iter().find(|known| before == 0 && known.eq_ignore_ascii_case(word)) {
                Some(known) => self.out.push_str(known),
                None => self.out.push_str(word),
            }
            self.fixed = before.checked_sub(1).map(|before| (before, known));
            rest = self.gap(after);
        }
        self.out.push_str(rest);
    }
}
