//! A stage that is called as something that cannot be replaced.

use super::{Check, FileScene, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ReservedStageName",
    description: "Reserved words should not be used as stage names",
    url: Some("https://docs.docker.com/go/dockerfile/rule/reserved-stage-name/"),
    fix: "give the stage another name than `scratch` and `context`",
    experimental: false,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    for stage in &scene.file.stages {
        if let Some(name @ ("scratch" | "context")) = stage.from.name.as_deref() {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            report.at(stage.span, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn both_words_are_reserved() {
        let found = |name: &str, line: u32| {
            format!(
                "ReservedStageName: Stage name should not use the same name as reserved stage {name:?} \
                 (line {line})"
            )
        };
        check(
            "FROM scratch AS context\nFROM busybox AS Scratch",
            &[
                "StageNameCasing: Stage name 'Scratch' should be lowercase (line 2)",
                &found("context", 1),
                &found("scratch", 2),
            ],
        );
        check("FROM scratch AS a", &[]);
    }
}
