//! `CMD program`: a shell stands between the program and its signals.

use super::{Check, InstructionScene, Report, Rule};
use crate::Instruction;
use crate::ast::CommandLine;

pub(super) const RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    description: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    url: Some("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"),
    fix: "write the program and its arguments as a JSON list, or say with SHELL that a shell is meant",
    experimental: false,
    check: Check::Instruction(check),
};

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    let (Instruction::Cmd(command) | Instruction::Entrypoint(command)) = &scene.node.instruction else {
        return;
    };
    if matches!(command, CommandLine::Shell(_)) && !scene.has_shell {
        let message = format!(
            "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
            scene.keyword()
        );
        report.on(scene.place(), message);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn a_shell_of_ones_own_is_meant() {
        for keyword in ["CMD", "ENTRYPOINT"] {
            let found = format!(
                "JSONArgsRecommended: JSON arguments recommended for {keyword} to prevent unintended behavior related \
                 to OS signals (line 2)"
            );
            check(&format!("FROM scratch\n{keyword} a b"), &[&found]);
            check(&format!("FROM scratch\n{keyword} [\"a\"]"), &[]);
            check(&format!("FROM scratch AS x\nSHELL [\"b\"]\nFROM x\n{keyword} a b"), &[]);
        }
    }
}
