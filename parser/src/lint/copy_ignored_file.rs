//! `COPY x` where `.dockerignore` leaves `x` out.

use super::{Check, InstructionScene, Report, Rule};
use crate::Instruction;
use crate::lower::is_remote;

pub(super) const RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    description: "Attempting to Copy file that is excluded by .dockerignore",
    url: Some("https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/"),
    fix: "take it out of `.dockerignore`, or do not copy it",
    experimental: false,
    check: Check::Instruction(check),
};

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    let (verb, sources) = match &scene.node.instruction {
        Instruction::Copy(copy) if copy.from.is_none() => ("Copy", &copy.sources),
        Instruction::Add(add) => ("Add", &add.sources),
        _ => return,
    };
    let Some(ignore) = scene.ignore.filter(|ignore| !ignore.is_empty() && !ignore.has_exceptions()) else {
        return;
    };
    let paths = sources.paths.iter().filter_map(|path| scene.word(path));
    for path in paths.filter(|path| !is_remote(path)).map(|path| clean(&path)) {
        let is_root = matches!(path.as_str(), "." | "/");
        let excluded =
            if is_root { ignore.leaves_out_everything() } else { ignore.decide(path.as_bytes()).excluded };
        if excluded {
            let message = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
            report.on(scene.place(), message);
        }
    }
}

/// A path without `.`, `..` and doubled slashes, as Go's `path.Clean` writes it.
fn clean(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    match format!("{root}{}", parts.join("/")) {
        clean if clean.is_empty() => ".".to_owned(),
        clean => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::clean;
    use crate::lint::tests::check_with;

    fn ignoring(lines: &str, dockerfile: &str, expected: &[&str]) {
        check_with(dockerfile, |options| {
            options.context_exclude = lines.lines().map(str::to_owned).collect();
        })
        .expect(expected);
    }

    fn found(verb: &str, path: &str, line: u32) -> String {
        format!(
            "CopyIgnoredFile: Attempting to {verb} file {path:?} that is excluded by .dockerignore (line {line})"
        )
    }

    #[test]
    fn sources_of_the_context_are_looked_at() {
        ignoring(
            "Dockerfile\nsrc\n",
            "FROM scratch\nCOPY Dockerfile ./src/main.c other /\nADD Dockerfile https://x/src /\n",
            &[
                &found("Copy", "Dockerfile", 2),
                &found("Copy", "src/main.c", 2),
                &found("Add", "Dockerfile", 3),
            ],
        );
        ignoring("foo", "FROM scratch AS a\nFROM a\nCOPY --from=a foo /", &[]);
    }

    #[test]
    fn exceptions_are_too_hard_to_judge() {
        ignoring("**\n!Dockerfile", "FROM scratch\nCOPY a .", &[]);
    }

    #[test]
    fn the_whole_context_is_only_ignored_by_a_star() {
        ignoring(".*", "FROM scratch\nCOPY . .", &[]);
        ignoring("*", "FROM scratch\nCOPY . .", &[&found("Copy", ".", 2)]);
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [
            ("./a//b/", "a/b"),
            ("", "."),
            ("/../a", "/a"),
            ("a/../..", ".."),
            ("/", "/"),
            ("../../a", "../../a"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }
}
