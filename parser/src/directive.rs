//! `# syntax=`, `# escape=` and `# check=` at the top of a file.

use nom::Parser;
use nom::bytes::complete::take_while;
use nom::character::complete::{char, multispace0, satisfy};
use nom::combinator::recognize;
use nom::sequence::pair;

use crate::lines::BYTE_ORDER_MARK;
use crate::{Diagnostic, Span};

/// What the comments at the top of a file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The front end's image, with arguments.
    pub syntax: Option<String>,
    /// The character that escapes and continues lines: a backslash or a backtick.
    pub escape: char,
    /// Which build checks apply.
    pub check: Option<String>,
    /// The lines of the three, from 1.
    pub lines: DirectiveLines,
}

/// Where each directive is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectiveLines {
    /// `# syntax=`
    pub syntax: Option<u32>,
    /// `# escape=`
    pub escape: Option<u32>,
    /// `# check=`
    pub check: Option<u32>,
}

impl Default for Directives {
    fn default() -> Self {
        Directives { syntax: None, escape: '\\', check: None, lines: DirectiveLines::default() }
    }
}

/// Reads directives until the first line that is none; also how many lines they are.
///
/// A `#!` line ends them before they begin, but `syntax` and `check` are looked for behind it too, as BuildKit does.
pub(crate) fn directives(text: &str, diagnostics: &mut Vec<Diagnostic>) -> (Directives, u32) {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut found = Directives::default();
    if text.starts_with("#!") {
        for (line, key, value) in known("#", text.split_inclusive('\n').skip(1), 2) {
            // What is wrong here is a comment for everybody else.
            if key != "escape" {
                found.set(key, value, line);
            }
        }
        return (found, 0);
    }
    let mut count = 0;
    for (line, key, value) in known("#", text.split_inclusive('\n'), 1) {
        count = line;
        if found.line(key).is_some() {
            let message = format!("only one `{key}` parser directive can be used");
            diagnostics.push(Diagnostic::error(Span::line(line), message));
        }
        if key == "escape" && !matches!(value, "\\" | "`") {
            let message = format!("invalid escape character `{value}`: it must be ` or \\");
            diagnostics.push(Diagnostic::error(Span::line(line), message));
            continue;
        }
        found.set(key, value, line);
    }
    if found.syntax.is_none() {
        found.syntax = foreign_syntax(text);
    }
    (found, count)
}

impl Directives {
    fn line(&self, key: &str) -> Option<u32> {
        match key {
            "syntax" => self.lines.syntax,
            "escape" => self.lines.escape,
            _ => self.lines.check,
        }
    }

    fn set(&mut self, key: &str, value: &str, line: u32) {
        match key {
            "syntax" => (self.syntax, self.lines.syntax) = (Some(value.to_owned()), Some(line)),
            "escape" => (self.escape, self.lines.escape) = (value.chars().next().unwrap_or('\\'), Some(line)),
            _ => (self.check, self.lines.check) = (Some(value.to_owned()), Some(line)),
        }
    }
}

/// The known directives at the start of `lines`: line, key, value.
fn known<'t>(
    comment: &'static str,
    lines: impl Iterator<Item = &'t str>,
    first: u32,
) -> impl Iterator<Item = (u32, &'static str, &'t str)> {
    (first..).zip(lines).map_while(move |(number, line)| {
        let (key, value) = directive(line.trim().strip_prefix(comment)?)?;
        let key = ["syntax", "escape", "check"].into_iter().find(|known| known.eq_ignore_ascii_case(key))?;
        Some((number, key, value))
    })
}

/// `key = value` after the mark of a comment; key and trimmed value.
pub(crate) fn directive(text: &str) -> Option<(&str, &str)> {
    let word = pair(satisfy(|c| c.is_ascii_alphabetic()), take_while(|c: char| c.is_ascii_alphanumeric()));
    let blanks = take_while::<_, _, nom::error::Error<&str>>(char::is_whitespace);
    let mut grammar = (blanks, recognize(word), multispace0, char('='));
    let (value, (_, key, _, _)) = grammar.parse(text).ok()?;
    let value = value.trim();
    (!value.is_empty()).then_some((key, value))
}

/// A front end for another language than ours is also named by `// syntax=` or by a JSON document's key.
fn foreign_syntax(text: &str) -> Option<String> {
    let slashes = known("//", text.split_inclusive('\n'), 1).find(|(_, key, _)| *key == "syntax");
    if let Some((_, _, value)) = slashes {
        return Some(value.to_owned());
    }
    #[derive(serde::Deserialize)]
    struct Document {
        syntax: String,
    }
    let document = text.trim_start().starts_with('{').then(|| serde_json::from_str::<Document>(text));
    document?.ok().map(|document| document.syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Directives, usize) {
        let mut diagnostics = Vec::new();
        let (directives, _) = directives(text, &mut diagnostics);
        (directives, diagnostics.len())
    }

    #[test]
    fn item_3_known_directives_are_read_with_their_arguments() {
        let (found, errors) = read("# syntax=docker/dockerfile:1 x\n#ESCAPE = `\n# check=skip=all\nFROM a\n");
        assert_eq!(found.syntax.as_deref(), Some("docker/dockerfile:1 x"));
        assert_eq!((found.escape, found.check.as_deref(), errors), ('`', Some("skip=all"), 0));
        assert_eq!(found.lines.check, Some(3));
    }

    #[test]
    fn item_1_an_unknown_directive_ends_them() {
        assert_eq!(read("# foo=bar\n# escape=`\n").0.escape, '\\');
        assert_eq!(read("\n# escape=`\n").0.escape, '\\');
    }

    #[test]
    fn item_2_a_shebang_hides_the_escape_and_not_the_syntax() {
        let (found, errors) =
            read("#!/usr/bin/env kiln\n# syntax=a\n# check=error=true\n# escape=`\nFROM x\n");
        assert_eq!((found.syntax.as_deref(), found.check.as_deref()), (Some("a"), Some("error=true")));
        assert_eq!((found.escape, errors), ('\\', 0));
    }

    #[test]
    fn other_languages_name_their_front_end_too() {
        assert_eq!(read("// syntax = a/b\n{}").0.syntax.as_deref(), Some("a/b"));
        assert_eq!(read("{ \"x\": [], \"syntax\": \"a\" }").0.syntax.as_deref(), Some("a"));
        assert_eq!(read("{ \"syntax\": 1 }").0.syntax, None);
    }

    #[test]
    fn nonsense_and_repetition_are_errors() {
        assert_eq!(read("# escape=x\n").1, 1);
        assert_eq!(read("# escape=`\n# escape=`\n").1, 1);
        assert_eq!(read("\u{feff}# escape=`\n").0.escape, '`');
    }
}
