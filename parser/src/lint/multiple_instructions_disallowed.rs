//! Two `CMD`, `ENTRYPOINT` or `HEALTHCHECK` in one stage: only the last has a meaning.

use std::mem::discriminant;

use super::{Check, InstructionScene, Place, Report, Rule};
use crate::Instruction;

pub(super) const RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    description: "Multiple instructions of the same type should not be used in the same stage",
    url: Some("https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/"),
    fix: "keep the last one",
    experimental: false,
    check: Check::Instruction(check),
};

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    use Instruction::{Cmd, Entrypoint, Healthcheck};
    let instruction = &scene.node.instruction;
    if !matches!(instruction, Cmd(_) | Entrypoint(_) | Healthcheck(_)) {
        return;
    }
    let same = |node: &&&crate::Node| discriminant(&node.instruction) == discriminant(instruction);
    if let Some(earlier) = scene.earlier.iter().rev().find(same) {
        let message = format!(
            "Multiple {} instructions should not be used in the same stage because only the last one will be used",
            scene.keyword()
        );
        // The one that is lost is the place, the one that wins may have the excuse.
        report.on(Place { span: earlier.span, ..scene.place() }, message);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    fn found(keyword: &str, line: u32) -> String {
        format!(
            "MultipleInstructionsDisallowed: Multiple {keyword} instructions should not be used in the same stage \
             because only the last one will be used (line {line})"
        )
    }

    #[test]
    fn the_lost_one_is_the_place() {
        check(
            "FROM scratch\nCMD [\"a\"]\nHEALTHCHECK NONE\nCMD [\"b\"]\nHEALTHCHECK NONE\nCMD [\"c\"]",
            &[&found("CMD", 2), &found("HEALTHCHECK", 3), &found("CMD", 4)],
        );
        check("FROM scratch AS a\nENTRYPOINT [\"a\"]\nFROM a\nENTRYPOINT [\"b\"]", &[]);
    }
}
