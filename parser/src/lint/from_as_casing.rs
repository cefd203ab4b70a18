//! `FROM x as y`: the two keywords should look alike.

use super::{Check, FileScene, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "FromAsCasing",
    description: "The 'as' keyword should match the case of the 'from' keyword",
    url: Some("https://docs.docker.com/go/dockerfile/rule/from-as-casing/"),
    fix: "write `FROM … AS …` or `from … as …`",
    experimental: false,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    for stage in &scene.file.stages {
        let from = stage.keyword();
        let Some((word, _)) = stage.written_name() else { continue };
        // A keyword of mixed case is what `ConsistentInstructionCasing` complains about.
        let alike = if from == from.to_lowercase() {
            word == word.to_lowercase()
        } else {
            from != from.to_uppercase() || word == word.to_uppercase()
        };
        if !alike {
            report.on(stage.into(), format!("'{word}' and '{from}' keywords' casing do not match"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn unlike_keywords_are_found() {
        check("FROM scratch as b", &["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"]);
        check("from scratch AS b", &["FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1)"]);
        check("from scratch as b", &[]);
    }
}
