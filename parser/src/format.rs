//! The usual form of a Dockerfile: the same file, written as others would write it.
//!
//! Instructions are in upper case with one space between keyword, flags and what follows; continued lines are indented
//! by four spaces; there is one empty line where there were several. Comments, broken lines and everything that has a
//! meaning — scripts, quoted strings, heredocs — stay as they are: a change is made only where the parser then reads
//! the same. So a formatted file builds the same image from the same cache.

mod instruction;

use std::ops::Range;

use crate::directive::directives;
use crate::lines::trim_line_end;
use crate::pieces::{Piece, PieceKind};
use crate::{Diagnostic, Dockerfile, SourceFile, parse};

/// Bytes of a text, and what stands there in the usual form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Whole lines of the text.
    pub bytes: Range<usize>,
    /// The lines in their place.
    pub text: String,
}

/// What has to change, in order. A file with errors is not touched: they are the error.
pub fn rewrites(source: &SourceFile) -> Result<Vec<Rewrite>, Vec<Diagnostic>> {
    let (file, diagnostics) = parse(source);
    let errors: Vec<Diagnostic> = diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let is_instruction = |piece: &Piece| matches!(piece.kind, PieceKind::Instruction(_));
    let first = file.pieces.iter().position(is_instruction).unwrap_or(file.pieces.len());
    let (top, pieces) = file.pieces.split_at(first);
    let mut rewrites = vec![self::top(top, &file, source)];
    for (at, piece) in pieces.iter().enumerate() {
        let text = match &piece.kind {
            PieceKind::Instruction(parts) => {
                instruction::usual(parts, piece.text(source), source, file.directives.escape)
            }
            PieceKind::Blank if at + 1 == pieces.len() => String::new(),
            _ => lines(piece, source),
        };
        rewrites.push(Rewrite { bytes: piece.bytes.clone(), text });
    }
    Ok(rewrites.into_iter().filter_map(|rewrite| narrow(rewrite, source.text())).collect())
}

/// The usual form of a file. Errors as [`rewrites`].
pub fn format(source: &SourceFile) -> Result<String, Vec<Diagnostic>> {
    rewrites(source).map(|rewrites| apply(source, &rewrites))
}

/// The text with `rewrites`, which are in order, in it.
pub fn apply(source: &SourceFile, rewrites: &[Rewrite]) -> String {
    let mut text = String::with_capacity(source.text().len());
    let mut at = 0;
    for rewrite in rewrites {
        text.push_str(&source.text()[at..rewrite.bytes.start]);
        text.push_str(&rewrite.text);
        at = rewrite.bytes.end;
    }
    text.push_str(&source.text()[at..]);
    text
}

/// What stands above the first instruction. Directives are directives only in the first lines, so an empty line or an
/// indentation can be what makes a comment of one; then all of it stays.
fn top(pieces: &[Piece], file: &Dockerfile, source: &SourceFile) -> Rewrite {
    let bytes = 0..pieces.last().map_or(0, |piece| piece.bytes.end);
    let mut text: String = pieces.iter().map(|piece| lines(piece, source)).collect();
    text.drain(..text.len() - text.trim_start_matches('\n').len());
    if directives(&text, &mut Vec::new()).0 != file.directives {
        let lines = source.text()[bytes.clone()].split_inclusive('\n');
        text = lines.flat_map(|line| [trim_line_end(line), "\n"]).collect();
    }
    Rewrite { bytes, text }
}

/// Lines between instructions: comments without white space around them, one empty line.
fn lines(piece: &Piece, source: &SourceFile) -> String {
    match piece.kind {
        PieceKind::ByteOrderMark => String::new(),
        PieceKind::Blank => "\n".to_owned(),
        _ => piece.text(source).lines().flat_map(|line| [line.trim(), "\n"]).collect(),
    }
}

/// A rewrite without the lines that stay at its start and its end; `None` where all stay.
fn narrow(rewrite: Rewrite, whole: &str) -> Option<Rewrite> {
    let Rewrite { bytes, text } = rewrite;
    let old = &whole[bytes.clone()];
    let start = alike(old.split_inclusive('\n').zip(text.split_inclusive('\n')));
    let (old, new) = (&old[start..], &text[start..]);
    let end = alike(old.split_inclusive('\n').rev().zip(new.split_inclusive('\n').rev()));
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    let start = bytes.start + start;
    (old != new).then(|| Rewrite { bytes: start..start + old.len(), text: new.to_owned() })
}

/// Bytes of the first lines that are the same in both.
fn alike<'t>(lines: impl Iterator<Item = (&'t str, &'t str)>) -> usize {
    lines.take_while(|(old, new)| old == new).map(|(line, _)| line.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let of = |text: &str| format(&SourceFile::new("Dockerfile", text)).unwrap();
        assert_eq!(of(text), expected, "{text:?}");
        assert_eq!(of(expected), expected, "again: {expected:?}");
    }

    #[test]
    fn keywords_and_flags() {
        check("from   x   as  Y\n", "FROM x AS Y\n");
        check(
            "FROM x\ncopy  --from=a   --link\ta   b  \nrun -- --odd  x",
            "FROM x\nCOPY --from=a --link a   b\nRUN -- --odd  x\n",
        );
        check(
            "FROM x\nhealthcheck --retries=1  cmd a  b\nHEALTHCHECK none\n",
            "FROM x\nHEALTHCHECK --retries=1 CMD a  b\nHEALTHCHECK NONE\n",
        );
        // The trigger is kept as text in the image.
        check("FROM x\nonbuild  run  a\n", "FROM x\nONBUILD run  a\n");
        check("FROM as as as\n", "FROM as AS as\n");
    }

    #[test]
    fn continued_lines() {
        check(
            "FROM x\nENV a=1 \\  \n  # why\n\n\tb=2\\\n c=3\n",
            "FROM x\nENV a=1 \\\n    # why\n    b=2\\\n    c=3\n",
        );
        check(
            "FROM x\nRUN --mount=target=/a \\\n --network=none   \\\n make\n",
            "FROM x\nRUN --mount=target=/a \\\n    --network=none   \\\n    make\n",
        );
        check("FROM x\nCMD [\"a\", \\\n\"b\"]\n", "FROM x\nCMD [\"a\", \\\n    \"b\"]\n");
    }

    #[test]
    fn scripts_and_quoted_strings_are_not_touched() {
        let script = "FROM x\nRUN a && \\\n  \tb   c && \\\n# why\n    d\n";
        check(script, script);
        let quoted = "FROM x\nLABEL a=\"b \\\n  c\" \\\n  d=e\n";
        check(quoted, quoted);
        check("FROM x\nUSER a  b \n", "FROM x\nUSER a  b\n");
        check("# escape=`\nFROM x\nCOPY a `\n b c:\\\n", "# escape=`\nFROM x\nCOPY a `\n    b c:\\\n");
    }

    #[test]
    fn heredocs_keep_their_bytes() {
        check(
            "FROM x\r\nrun  <<E cat \r\n  a\r\n\r\n\r\nE\r\nUSER  y",
            "FROM x\nRUN <<E cat\n  a\r\n\r\n\r\nE\r\nUSER y\n",
        );
        check("FROM x\nCOPY <<A <<-B /\n a\nA\n\t\tb \n\tB", "FROM x\nCOPY <<A <<-B /\n a\nA\n\t\tb \n\tB\n");
    }

    #[test]
    fn lines_between_instructions() {
        check("\n\n  # a \n\n\n\t#b\nFROM x\n\n \n\nUSER y\n\n\n", "# a\n\n#b\nFROM x\n\nUSER y\n");
        check("\u{feff}FROM x", "FROM x\n");
    }

    #[test]
    fn comments_do_not_become_directives() {
        check("  #  escape = `\n\n\nFROM x\n", "#  escape = `\n\nFROM x\n");
        let comment = "\n# escape=`\nFROM x\n";
        check(comment, comment);
        check("\n\r\n  # syntax=a\r\nFROM x\n", "\n\n  # syntax=a\nFROM x\n");
        let shebang = " #!x\n# syntax=a\nFROM x\n";
        check(shebang, shebang);
    }

    #[test]
    fn a_file_with_errors_is_not_touched() {
        let errors = rewrites(&SourceFile::new("Dockerfile", "FROM x\nRUNN a\ncopy b\n")).unwrap_err();
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn what_stays_is_not_rewritten() {
        let text = "FROM x\nENV a=1 \\\n  b=2 \\\n    c=3\nUSER y\n";
        let found = rewrites(&SourceFile::new("Dockerfile", text)).unwrap();
        let expected = Rewrite { bytes: 17..25, text: "    b=2 \\\n".to_owned() };
        assert_eq!(found, [expected]);
    }
}
