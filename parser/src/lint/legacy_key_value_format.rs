//! `ENV name value`.

use super::{Check, InstructionScene, Report, Rule};
use crate::Instruction;
use crate::ast::{Env, Label};

pub(super) const RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    description: "Legacy key/value format with whitespace separator should not be used",
    url: Some("https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"),
    fix: "put a `=` between name and value, and quotes around a value with spaces",
    experimental: false,
    check: Check::Instruction(check),
};

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    let (Instruction::Env(Env { variables: pairs }) | Instruction::Label(Label { labels: pairs })) =
        &scene.node.instruction
    else {
        return;
    };
    if pairs.iter().any(|pair| pair.legacy) {
        let keyword = scene.keyword();
        let message = format!(
            "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
        );
        report.on(scene.place(), message);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn stages_that_are_built_are_looked_at() {
        let found = |keyword: &str, line: u32| {
            format!(
                "LegacyKeyValueFormat: \"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" \
                 format (line {line})"
            )
        };
        check("FROM scratch\nENV a b\nLABEL c d\n", &[&found("ENV", 2), &found("LABEL", 3)]);
        check("FROM scratch AS a\nFROM a AS b\nENV a b\nFROM a", &[]);
        check("FROM scratch\nENV a=b", &[]);
    }
}
