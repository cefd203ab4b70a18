//! `# syntax=`, `# escape=` and `# check=` at the top of a file.

use nom::Parser;
use nom::bytes::complete::take_while;
use nom::character::complete::{char, satisfy, space0};
use nom::combinator::recognize;
use nom::sequence::pair;

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
}

impl Default for Directives {
    fn default() -> Self {
        Directives { syntax: None, escape: '\\', check: None }
    }
}

/// Reads directives until the first line that is none.
pub(crate) fn directives(text: &str, diagnostics: &mut Vec<Diagnostic>) -> Directives {
    let mut found = Directives::default();
    let mut seen = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let Some((key, value)) = directive(line) else { break };
        let key = key.to_ascii_lowercase();
        if !matches!(key.as_str(), "syntax" | "escape" | "check") {
            break;
        }
        if seen.contains(&key) {
            let message = format!("only one `{key}` parser directive can be used");
            diagnostics.push(Diagnostic::error(Span::line(number), message));
        }
        match (key.as_str(), value) {
            ("escape", "\\" | "`") => found.escape = if value == "`" { '`' } else { '\\' },
            ("escape", _) => {
                let message = format!("invalid escape character `{value}`: it must be ` or \\");
                diagnostics.push(Diagnostic::error(Span::line(number), message));
            }
            ("syntax", _) => found.syntax = Some(value.to_owned()),
            _ => found.check = Some(value.to_owned()),
        }
        seen.push(key);
    }
    found
}

/// `# key = value`, key and trimmed value.
fn directive(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let word = pair(satisfy(|c| c.is_ascii_alphabetic()), take_while(|c: char| c.is_ascii_alphanumeric()));
    let mut grammar = (char('#'), space0::<_, nom::error::Error<&str>>, recognize(word), space0, char('='));
    let (value, (_, _, key, _, _)) = grammar.parse(line).ok()?;
    let value = value.trim();
    (!value.is_empty()).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Directives, usize) {
        let mut diagnostics = Vec::new();
        let directives = directives(text, &mut diagnostics);
        (directives, diagnostics.len())
    }

    #[test]
    fn known_directives_are_read() {
        let (found, errors) = read("# syntax=docker/dockerfile:1 x\n#ESCAPE = `\n# check=skip=all\nFROM a\n");
        assert_eq!(found.syntax.as_deref(), Some("docker/dockerfile:1 x"));
        assert_eq!((found.escape, found.check.as_deref(), errors), ('`', Some("skip=all"), 0));
    }

    #[test]
    fn an_unknown_directive_ends_them() {
        assert_eq!(read("# foo=bar\n# escape=`\n").0.escape, '\\');
        assert_eq!(read("\n# escape=`\n").0.escape, '\\');
    }

    #[test]
    fn nonsense_and_repetition_are_errors() {
        assert_eq!(read("# escape=x\n").1, 1);
        assert_eq!(read("# escape=`\n# escape=`\n").1, 1);
    }
}
