//! From text to tree, with every complaint.

use crate::ast::{Dockerfile, Node, Stage};
use crate::complaints::Complaints;
use crate::directive::directives;
use crate::flags::split;
use crate::instruction::{self, Parsed, Problem, doubts};
use crate::lines::{Lines, Logical};
use crate::source::{Broken, MAX_SOURCE};
use crate::{Diagnostic, Instruction, Severity, SourceFile, Span};

/// Most instructions of a file.
const MAX_INSTRUCTIONS: usize = 32_768;

/// What a file without a stage lacks.
const BEGINNING: &str = "a Dockerfile begins with `FROM image`";

/// The tree of a file and all complaints about it, in the order of lines. Never fails: what has no sense is left out
/// of the tree and complained about. Takes time and memory proportional to the text.
pub fn parse(source: &SourceFile) -> (Dockerfile, Vec<Diagnostic>) {
    if let Some(error) = unreadable(source) {
        let pieces = Lines::new(source.text(), '\\', 0).finish().finish();
        return (Dockerfile { pieces, ..Dockerfile::default() }, vec![error]);
    }
    let mut complaints = Complaints::default();
    complaints.extend(source.broken().iter().map(broken));
    let dockerfile = tree(source.text(), &mut complaints);
    (dockerfile, complaints.finish())
}

/// Why a file is not read at all.
fn unreadable(source: &SourceFile) -> Option<Diagnostic> {
    let name = source.name();
    if source.text().len() > MAX_SOURCE {
        return Some(Diagnostic::global(format!("`{name}` is larger than {} MiB", MAX_SOURCE >> 20)));
    }
    let help = "save it as UTF-8".to_owned();
    source
        .is_utf16()
        .then(|| Diagnostic::global(format!("`{name}` is UTF-16 text, not UTF-8")).with_help(Some(help)))
}

fn broken(at: &Broken) -> Diagnostic {
    let message =
        format!("byte {} of the line, 0x{:02x}, is not valid UTF-8 and was replaced", at.column, at.byte);
    let help = Some("save the file as UTF-8".to_owned());
    let diagnostic = Diagnostic::error(Span::line(at.line), message).with_help(help);
    Diagnostic { severity: Severity::Warning, ..diagnostic }
}

fn tree(text: &str, complaints: &mut Complaints) -> Dockerfile {
    let mut found = Vec::new();
    let (directives, count) = directives(text, &mut found);
    complaints.extend(found);
    let escape = directives.escape;
    let mut file = Dockerfile { directives, ..Dockerfile::default() };
    let mut lines = Lines::new(text, escape, count);
    let mut instructions = 0;
    let mut above = String::new();
    while let Some(line) = lines.next() {
        complaints.extend(lines.complaints());
        let span = line.span;
        instructions += 1;
        if instructions > MAX_INSTRUCTIONS {
            let message = format!("the file has more than {MAX_INSTRUCTIONS} instructions");
            complaints.push(Diagnostic::error(span, message));
            break;
        }
        let text = line.text.clone();
        if let Err(problem) = place(&mut file, line, escape, complaints) {
            let help = unfinished(&above, escape).or(problem.help);
            complaints.push(Diagnostic::error(span, problem.message).with_help(help));
        }
        above = text;
        if complaints.is_full() {
            break;
        }
    }
    complaints.extend(lines.complaints());
    if file.stages.is_empty() && !complaints.has_errors() {
        let message = if instructions == 0 {
            "the file has no instructions"
        } else {
            "no build stage in the file: it needs a FROM"
        };
        complaints.push(Diagnostic::global(message).with_help(Some(BEGINNING.to_owned())));
    }
    file.pieces = lines.finish().finish();
    file
}

/// Understands a line and puts it where it belongs.
fn place(
    file: &mut Dockerfile,
    line: Logical,
    escape: char,
    complaints: &mut Complaints,
) -> Result<(), Problem> {
    let Logical { text, span, comments, heredocs } = line;
    if let Some(column) = text.find('\0') {
        let help = Some("the file may not be text, or not be UTF-8".to_owned());
        return Err(Problem { message: format!("byte {} of the instruction is NUL", column + 1), help });
    }
    let cut = split(&text, escape);
    let parsed = instruction::parse(&cut, heredocs, escape)?;
    let code = text.trim_end().to_owned();
    match parsed {
        Parsed::From(from) => {
            file.stages.push(Stage { from, span, code, comments, instructions: Vec::new() });
        }
        Parsed::Other(instruction) => {
            complaints.extend(doubts(&cut, &instruction).into_iter().map(|problem| problem.warning(span)));
            let is_arg = matches!(instruction, Instruction::Arg(_));
            let node = Node { instruction, span, code, comments };
            match file.stages.last_mut() {
                Some(stage) => stage.instructions.push(node),
                None if is_arg => file.global_args.push(node),
                None => return Err(before_from()),
            }
        }
    }
    Ok(())
}

/// What is odd about the end of the instruction above one that has no sense.
fn unfinished(above: &str, escape: char) -> Option<String> {
    let above = above.trim_end();
    if let Some((_, behind)) = above.rsplit_once(escape)
        && behind.trim_start().starts_with('#')
    {
        return Some(format!(
            "nothing may follow the `{escape}` that continues a line; a comment stands on its own line"
        ));
    }
    let end = ["&&", "||", "|", ","].into_iter().find(|end| above.ends_with(end))?;
    Some(format!("the line above ends with `{end}`: a `{escape}` behind it continues it"))
}

fn before_from() -> Problem {
    let message = "no build stage in current context: only ARG may stand before FROM".to_owned();
    Problem { message, help: Some(BEGINNING.to_owned()) }
}

/// Reads a trigger that a base image carries; it happens at the line of its FROM.
pub(crate) fn parse_trigger(text: &str, span: Span) -> Result<Node, Diagnostic> {
    let fail = |problem: Problem| {
        let message = format!("ONBUILD trigger `{text}` of the base image: {}", problem.message);
        Diagnostic::error(span, message).with_help(problem.help)
    };
    let mut lines = Lines::new(text, '\\', 0);
    let (first, second) = (lines.next(), lines.next());
    if let Some(diagnostic) = lines.complaints().into_iter().find(Diagnostic::is_error) {
        return Err(fail(Problem::new(diagnostic.message)));
    }
    let (Some(line), None) = (first, second) else {
        return Err(fail(Problem::new("it is not one instruction")));
    };
    let cut = split(&line.text, '\\');
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
    fn a_line_that_was_meant_to_go_on_is_pointed_at() {
        let help = |text: &str| {
            let (_, found) = parse(&SourceFile::new("Dockerfile", text));
            found.into_iter().find_map(|found| found.help).unwrap_or_default()
        };
        assert!(help("FROM a\nRUN b &&\n  cd x\n").starts_with("the line above ends with `&&`"));
        assert!(help("FROM a\nRUN b \\ # c\n  cd x\n").starts_with("nothing may follow"));
        assert_eq!(help("FROM a\nRUN b\n  make x\n"), "");
    }

    #[test]
    fn item_25_only_arg_stands_before_from() {
        assert_eq!(messages("ARG a\nFROM x"), Vec::<String>::new());
        assert!(messages("RUN x\nFROM y")[0].starts_with("no build stage in current context"));
        assert_eq!(messages(""), ["the file has no instructions"]);
        assert_eq!(messages("ARG a"), ["no build stage in the file: it needs a FROM"]);
    }

    #[test]
    fn odd_bytes_are_a_warning_with_their_place() {
        let (file, diagnostics) = parse(&SourceFile::from_bytes("D", b"\xef\xbb\xbfFROM a\nLABEL x=\xff\n"));
        assert_eq!((file.stages.len(), diagnostics.len()), (1, 1));
        assert!(!diagnostics[0].is_error());
        assert_eq!(diagnostics[0].span, Some(Span::line(2)));
        assert!(diagnostics[0].message.starts_with("byte 9 of the line, 0xff"));
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        let (_, utf16) = parse(&SourceFile::from_bytes("D", b"\xff\xfeF\0R\0O\0M\0"));
        assert_eq!(utf16[0].message, "`D` is UTF-16 text, not UTF-8");
        assert!(messages("FROM a\nRUN b\0c")[0].starts_with("byte 6 of the instruction is NUL"));
        assert!(messages("# \0\nFROM a").is_empty());
        assert!(messages("FROM a\n\\")[0].starts_with("a line is continued"));
    }

    #[test]
    fn too_much_is_an_error_and_not_read_further() {
        let found = messages(&format!("FROM a\n{}", "CMD\n".repeat(MAX_INSTRUCTIONS)));
        assert_eq!(found, ["the file has more than 32768 instructions"]);
        assert_eq!(messages(&"x\n".repeat(5000)).len(), 1000);
        let large = "#".repeat(MAX_SOURCE + 1);
        assert_eq!(messages(&large), ["`Dockerfile` is larger than 16 MiB"]);
    }
}
