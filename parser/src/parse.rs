//! From text to tree, with every complaint.

use crate::ast::{Dockerfile, Node, Stage};
use crate::directive::directives;
use crate::flags::split;
use crate::instruction::{self, Parsed, Problem};
use crate::lines::{Logical, logical_lines};
use crate::source::MAX_SOURCE;
use crate::{Diagnostic, Instruction, SourceFile, Span};

/// Most complaints that are kept of one file.
const MAX_DIAGNOSTICS: usize = 1000;

/// The tree of a file and all complaints about it, in the order of lines. Never fails: what has no sense is left out
/// of the tree and complained about.
pub fn parse(source: &SourceFile) -> (Dockerfile, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    if source.text().len() > MAX_SOURCE {
        let message = format!("`{}` is larger than {} MiB", source.name(), MAX_SOURCE >> 20);
        return (Dockerfile::default(), vec![Diagnostic::global(message)]);
    }
    if !source.is_valid_utf8() {
        let message = format!("`{}` is not valid UTF-8; broken characters were replaced", source.name());
        diagnostics.push(Diagnostic { severity: crate::Severity::Warning, ..Diagnostic::global(message) });
    }
    let text = source.text().strip_prefix('\u{feff}').unwrap_or(source.text());
    let dockerfile = tree(text, &mut diagnostics);
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.map(|span| span.first));
    if diagnostics.len() > MAX_DIAGNOSTICS {
        // Errors must not be lost behind warnings.
        diagnostics.sort_by_key(|diagnostic| !diagnostic.is_error());
        diagnostics.truncate(MAX_DIAGNOSTICS);
    }
    (dockerfile, diagnostics)
}

fn tree(text: &str, diagnostics: &mut Vec<Diagnostic>) -> Dockerfile {
    let mut file = Dockerfile { directives: directives(text, diagnostics), ..Dockerfile::default() };
    let escape = file.directives.escape;
    let lines = logical_lines(text, escape, diagnostics);
    let empty = lines.is_empty();
    for line in lines {
        let span = line.span;
        if let Err(problem) = place(&mut file, line, escape) {
            diagnostics.push(Diagnostic::error(span, problem.message).with_help(problem.help));
        }
    }
    if empty && !diagnostics.iter().any(Diagnostic::is_error) {
        diagnostics.push(Diagnostic::global("the file has no instructions"));
    } else if file.stages.is_empty() && !diagnostics.iter().any(Diagnostic::is_error) {
        diagnostics.push(Diagnostic::global("no build stage in the file: it needs a FROM"));
    }
    file
}

/// Understands a line and puts it where it belongs.
fn place(file: &mut Dockerfile, line: Logical, escape: char) -> Result<(), Problem> {
    let Logical { text, span, comments, heredocs } = line;
    let parsed = instruction::parse(&split(&text), heredocs, escape)?;
    let code = if text.ends_with(char::is_whitespace) { text.trim_end().to_owned() } else { text };
    match parsed {
        Parsed::From(from) => {
            file.stages.push(Stage { from, span, code, comments, instructions: Vec::new() });
        }
        Parsed::Other(instruction) => {
            let is_arg = matches!(instruction, Instruction::Arg(_));
            let node = Node { instruction, span, code, comments };
            match file.stages.last_mut() {
                Some(stage) => stage.instructions.push(node),
                None if is_arg => file.global_args.push(node),
                None => {
                    return Err(Problem::new(
                        "no build stage in current context: only ARG may stand before FROM",
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Reads a trigger that a base image carries; it happens at the line of its FROM.
pub(crate) fn parse_trigger(text: &str, span: Span) -> Result<Node, Diagnostic> {
    let fail = |problem: Problem| {
        let message = format!("ONBUILD trigger `{text}` of the base image: {}", problem.message);
        Diagnostic::error(span, message).with_help(problem.help)
    };
    let mut diagnostics = Vec::new();
    let mut lines = logical_lines(text, '\\', &mut diagnostics);
    if let Some(diagnostic) = diagnostics.into_iter().find(Diagnostic::is_error) {
        return Err(fail(Problem::new(diagnostic.message)));
    }
    if lines.len() != 1 {
        return Err(fail(Problem::new("it is not one instruction")));
    }
    let line = lines.remove(0);
    let cut = split(&line.text);
    if let Some(problem) = instruction::forbidden_trigger(cut.keyword) {
        return Err(fail(problem));
    }
    match instruction::parse(&cut, line.heredocs, '\\').map_err(fail)? {
        Parsed::Other(instruction) => {
            Ok(Node { instruction, span, code: line.text.trim().to_owned(), comments: Vec::new() })
        }
        Parsed::From(_) => Err(fail(Problem::new("FROM is not allowed as an ONBUILD trigger"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let (_, diagnostics) = parse(&SourceFile::new("Dockerfile", text));
        diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()
    }

    #[test]
    fn every_complaint_is_told() {
        let found = messages("FROM a\nRUNN x\nCOPY y\nSHELL z\n");
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn only_arg_stands_before_from() {
        assert_eq!(messages("ARG a\nFROM x"), Vec::<String>::new());
        assert!(messages("RUN x\nFROM y")[0].starts_with("no build stage in current context"));
        assert_eq!(messages(""), ["the file has no instructions"]);
        assert_eq!(messages("ARG a"), ["no build stage in the file: it needs a FROM"]);
    }

    #[test]
    fn odd_bytes_are_a_warning() {
        let (file, diagnostics) = parse(&SourceFile::from_bytes("D", b"\xef\xbb\xbfFROM a\nLABEL x=\xff\n"));
        assert_eq!((file.stages.len(), diagnostics.len()), (1, 1));
        assert!(!diagnostics[0].is_error());
    }
}
