//! `FROM x AS Name`: stage names are compared in lower case, so they should be written so.

use super::{Check, FileScene, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "StageNameCasing",
    description: "Stage names should be lowercase",
    url: Some("https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"),
    fix: "write the stage's name in lower case",
    experimental: false,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    for stage in &scene.file.stages {
        if let Some((_, name)) = stage.written_name()
            && name != name.to_lowercase()
        {
            report.on(stage.into(), format!("Stage name '{name}' should be lowercase"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn capitals_are_found() {
        check("FROM scratch AS Base", &["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"]);
        check("# check=skip=StageNameCasing\nFROM scratch AS Base", &[]);
        check("FROM scratch AS base-1", &[]);
    }
}
