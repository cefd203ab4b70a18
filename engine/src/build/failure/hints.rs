//! What to do about a command that failed, from its exit code and the last lines that it wrote.

use kiln_oci::Platform;
use kiln_parser::{Instruction, Node, SourceFile};

/// A shell's exit code for a program that it cannot execute.
const NOT_EXECUTABLE: i32 = 126;
/// A shell's exit code for a program that it cannot find.
const NOT_FOUND: i32 = 127;
/// 128 + SIGKILL.
const KILLED: i32 = 137;

/// What to do where `..` was to lead out of the context.
pub(super) const OUTSIDE: &str = "a path cannot leave the context: build with the folder above, or name the other one by `--build-context`";

/// Arguments before the first FROM that a RUN uses although its stage does not declare them.
pub(super) fn of_global_args(file: &SourceFile, (first, _): (u32, u32)) -> Option<String> {
    let (dockerfile, _) = kiln_parser::parse(file);
    let names = |nodes: &[Node]| -> Vec<String> {
        let args = nodes.iter().filter_map(|node| match &node.instruction {
            Instruction::Arg(arg) => Some(arg.arguments.iter().map(|(name, _)| name.clone())),
            _ => None,
        });
        args.flatten().collect()
    };
    let stage = dockerfile.stages.iter().rev().find(|stage| stage.span.first <= first)?;
    let node = stage.instructions.iter().find(|node| node.span.first == first)?;
    let own = names(&stage.instructions);
    let uses = |name: &String| ["$", "${"].iter().any(|sign| node.code.contains(&format!("{sign}{name}")));
    let name = names(&dockerfile.global_args).into_iter().find(|name| uses(name) && !own.contains(name))?;
    Some(format!("`{name}` is known to FROM only: an `ARG {name}` in the stage makes it known there"))
}

/// What helps with a step that ended with `code` after writing `log`; `None` where only its author can tell.
pub(super) fn of_exit(code: i32, log: &[String]) -> Option<String> {
    let says = |what: &str| log.iter().any(|line| line.to_ascii_lowercase().contains(what));
    if says("exec format error") {
        return Some(foreign());
    }
    if [
        "could not resolve",
        "temporary failure resolving",
        "name resolution",
        "bad address",
        "name or service not known",
    ]
    .into_iter()
    .any(says)
    {
        return Some(
            "the step could not look up a name: is there a network, and is it not `--network none`?".into(),
        );
    }
    if says("unable to locate package") {
        return Some(
            "the lists of packages are not in the image: `apt-get update && apt-get install …` in one RUN"
                .into(),
        );
    }
    if says("no space left on device") {
        return Some("`kiln system df` shows what takes the space, `kiln system prune` frees some".into());
    }
    match code {
        NOT_FOUND => log.iter().rev().find_map(|line| not_found(line)).map(|name| missing(&name)),
        NOT_EXECUTABLE if says("permission denied") => {
            Some("the file is not executable: `COPY --chmod=755`, or `RUN chmod +x` before".into())
        }
        KILLED => Some("SIGKILL ended it, from outside or for want of memory".into()),
        _ => None,
    }
}

/// The name of a program that a shell did not find: `sh: 1: x: not found`, `bash: line 1: x: command not found`.
fn not_found(line: &str) -> Option<String> {
    let line = line.trim_end();
    let head = line.strip_suffix(": command not found").or_else(|| line.strip_suffix(": not found"));
    let head = head.or_else(|| line.strip_suffix(": No such file or directory"))?;
    head.rsplit(": ").next().map(str::to_owned)
}

fn missing(name: &str) -> String {
    if name.starts_with('[') {
        return "it begins like the JSON form but is none: strings there stand in double quotes".to_owned();
    }
    if name.contains('/') {
        return format!(
            "`{name}` is not there, or what its first line names is not: with Windows line ends that is `sh\\r`"
        );
    }
    format!("`{name}` is not in the image: install it in a RUN before, or use an image that has it")
}

fn foreign() -> String {
    format!(
        "the step executes a file that is no program for `{}`: one for another machine, which needs an emulator \
         (`apt-get install qemu-user-static binfmt-support`), or a script without its first line, `#!…`",
        Platform::host()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_are_understood() {
        for (code, line, expected) in [
            (127, "/bin/sh: curl: not found", "`curl` is not in the image"),
            (127, "/bin/sh: 1: curl: not found", "`curl` is not in the image"),
            (127, "/bin/bash: line 1: curl: command not found", "`curl` is not in the image"),
            (127, "/bin/sh: /run.sh: not found", "`/run.sh` is not there, or what its first line names"),
            (127, "/bin/sh: [/bin/echo,: not found", "double quotes"),
            (126, "/bin/sh: /run.sh: Permission denied", "not executable"),
            (126, "/bin/sh: 1: /app: Exec format error", "another machine"),
            (100, "E: Unable to locate package curl", "apt-get update"),
            (6, "curl: (6) Could not resolve host: example.org", "look up a name"),
            (1, "cp: write error: No space left on device", "prune"),
            (137, "", "SIGKILL"),
        ] {
            let hint = of_exit(code, &[line.to_owned()]).unwrap_or_default();
            assert!(hint.contains(expected), "{line}: {hint}");
        }
        assert_eq!(of_exit(1, &["error: x".to_owned()]), None);
        assert_eq!(of_exit(127, &["error: x".to_owned()]), None);
    }
}
