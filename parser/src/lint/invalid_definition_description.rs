//! A comment above a stage or an argument that does not begin with its name, and so describes nothing.

use super::{Check, FileScene, Place, Report, Rule};
use crate::Instruction;

pub(super) const RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    description: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. \
                  If this is not intended to be a description comment, add an empty line or comment between the \
                  instruction and the comment.",
    url: Some("https://docs.docker.com/go/dockerfile/rule/invalid-definition-description/"),
    fix: "begin the comment with the name, or put an empty comment, `#`, below it",
    experimental: true,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    for node in &scene.file.global_args {
        argument(node, report);
    }
    for stage in &scene.file.stages {
        if let Some(name) = &stage.from.name {
            described("FROM", &[name], stage.into(), report);
        }
        stage.instructions.iter().for_each(|node| argument(node, report));
    }
}

fn argument(node: &crate::Node, report: &mut Report<'_>) {
    if let Instruction::Arg(arg) = &node.instruction {
        let names: Vec<&str> = arg.arguments.iter().map(|(name, _)| name.as_str()).collect();
        described("ARG", &names, node.into(), report);
    }
}

/// The comment directly above begins with one of the names.
fn described(keyword: &str, names: &[&str], place: Place<'_>, report: &mut Report<'_>) {
    let Some(comment) = place.comments.last() else { return };
    let first = comment.split(' ').next().unwrap_or_default();
    if names.contains(&first) {
        return;
    }
    let name = if let [name] = names { name } else { "<arg_key>" };
    report.on(place, format!("Comment for {keyword} should follow the format: `# {name} <description>`"));
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    const ON: &str = "# check=experimental=all\n";

    fn found(keyword: &str, name: &str, line: u32) -> String {
        format!(
            "InvalidDefinitionDescription: Comment for {keyword} should follow the format: \
             `# {name} <description>` (line {line})"
        )
    }

    #[test]
    fn a_description_begins_with_the_name() {
        let bad = "# no\nARG a\n# No\nFROM scratch AS base\n# no\nARG b c\n";
        check(bad, &[]);
        check(
            &format!("{ON}{bad}"),
            &[&found("ARG", "a", 3), &found("FROM", "base", 5), &found("ARG", "<arg_key>", 7)],
        );
        let good =
            "# a is one\nARG a\n# base is it\nFROM scratch AS base\n# free\n#\nARG b\n# c d\nARG b c\n";
        check(&format!("{ON}{good}"), &[]);
    }
}
