//! Two stages of one name, of which only the last can be meant.

use std::collections::BTreeSet;

use super::{Check, FileScene, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "DuplicateStageName",
    description: "Stage names should be unique",
    url: Some("https://docs.docker.com/go/dockerfile/rule/duplicate-stage-name/"),
    fix: "give each stage a name of its own",
    experimental: false,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    for stage in &scene.file.stages {
        if let Some(name) = &stage.from.name
            && !seen.insert(name)
        {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            report.at(stage.span, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn the_later_one_is_the_place() {
        check(
            "FROM scratch AS b\nFROM scratch AS b",
            &["DuplicateStageName: Duplicate stage name \"b\", stage names should be unique (line 2)"],
        );
        check("FROM scratch AS a\nFROM scratch AS b", &[]);
    }
}
