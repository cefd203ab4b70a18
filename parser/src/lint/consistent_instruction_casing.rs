//! Keywords in capitals and in small letters in one file.

use super::{Check, FileScene, Report, Rule};
use crate::Span;

pub(super) const RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    description: "All commands within the Dockerfile should use the same casing (either upper or lower)",
    url: Some("https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/"),
    fix: "write all keywords in upper case, or all in lower case",
    experimental: false,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    let keywords = || {
        scene.file.stages.iter().flat_map(|stage| {
            let nodes = stage.instructions.iter().map(|node| (node.span, node.keyword()));
            std::iter::once((stage.span, stage.keyword())).chain(nodes)
        })
    };
    let count = |same: fn(&str) -> bool| keywords().filter(|(_, keyword)| same(keyword)).count();
    let (same, casing): (fn(&str) -> bool, _) =
        if count(is_lower) > count(is_upper) { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
    let unlike: Vec<(Span, &str)> = keywords().filter(|(_, keyword)| !same(keyword)).collect();
    for (span, keyword) in unlike {
        let message = format!("Command '{keyword}' should match the case of the command majority ({casing})");
        report.at(span, message);
    }
}

fn is_lower(keyword: &str) -> bool {
    keyword.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn is_upper(keyword: &str) -> bool {
    keyword.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    fn unlike(keyword: &str, casing: &str, line: u32) -> String {
        format!(
            "ConsistentInstructionCasing: Command '{keyword}' should match the case of the command majority \
             ({casing}) (line {line})"
        )
    }

    #[test]
    fn the_majority_decides() {
        check("FROM scratch\nuser a\nUSER b\n", &[&unlike("user", "uppercase", 2)]);
        check("from scratch\nUSER a\nuser b\n", &[&unlike("USER", "lowercase", 2)]);
        check("From scratch\nUser a\n", &[&unlike("From", "uppercase", 1), &unlike("User", "uppercase", 2)]);
        check("arg a\nFROM scratch\n", &[]);
    }
}
