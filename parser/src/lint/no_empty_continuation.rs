//! Empty lines inside an instruction, which most likely lost a `\` above them.

use super::{Check, FileScene, Report, Rule};
use crate::Span;
use crate::ast::{Part, PartKind, PieceKind};

pub(super) const RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    description: "Empty continuation lines will become errors in a future release",
    url: Some("https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"),
    fix: "remove the empty line, or put a comment there",
    experimental: false,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    for piece in &scene.file.pieces {
        let PieceKind::Instruction(parts) = &piece.kind else { continue };
        let is_line = |part: &&Part| !matches!(part.kind, PartKind::Body | PartKind::Terminator);
        let lines = parts.iter().take_while(is_line);
        if lines.clone().any(|part| part.kind == PartKind::Blank) {
            let last = piece.span.first + lines.count().saturating_sub(1) as u32;
            report.at(Span::line(last), "Empty continuation line".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn the_end_of_the_instruction_is_the_place() {
        check(
            "FROM scratch\nLABEL a=1 \\\n\n  b=2\n",
            &["NoEmptyContinuation: Empty continuation line (line 4)"],
        );
        check(
            "FROM scratch\nCOPY \\\n\n <<A /\nx\nA\n",
            &["NoEmptyContinuation: Empty continuation line (line 4)"],
        );
        check("FROM scratch\nLABEL a=1 \\\n # b\n  b=2\n", &[]);
    }
}
