//! `WORKDIR app`, which means something else with each base image.

use super::{Check, InstructionScene, Report, Rule};
use crate::Instruction;

pub(super) const RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    description: "Relative workdir without an absolute workdir declared within the build can have unexpected results \
                  if the base image changes",
    url: Some("https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/"),
    fix: "begin the first WORKDIR with `/`",
    experimental: false,
    check: Check::Instruction(check),
};

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    let Instruction::Workdir(path) = &scene.node.instruction else { return };
    let Some(path) = scene.word(path) else { return };
    if scene.first_workdir && !path.starts_with('/') {
        let message =
            format!("Relative workdir {path:?} can have unexpected results if the base image changes");
        report.on(scene.place(), message);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn the_first_one_should_be_absolute() {
        check(
            "FROM scratch\nWORKDIR app/\nWORKDIR b",
            &[
                "WorkdirRelativePath: Relative workdir \"app/\" can have unexpected results if the base image changes \
               (line 2)",
            ],
        );
        check("FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR b", &[]);
        check("FROM scratch\nARG A=/a\nWORKDIR $A", &[]);
    }
}
