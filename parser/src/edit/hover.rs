//! What is said about the word under the cursor, in Markdown.

use std::fmt::Write;
use std::ops::Range;

use super::Document;
use super::reference::{FlagEntry, InstructionEntry, MountOption};
use super::target::{Target, What, target};
use super::variables::{Origin, Variable};

/// Longest value that is shown, in characters.
const MAX_VALUE: usize = 400;

/// What is to be said about a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hover {
    /// The word's bytes.
    pub bytes: Range<usize>,
    /// Markdown.
    pub text: String,
}

/// What is known about the word at an offset; nothing where it is a word of a script or a path.
pub fn hover(document: &Document, at: usize) -> Option<Hover> {
    let Target { what, bytes, line } = target(document, at)?;
    let text = match what {
        What::Instruction(entry) => of_instruction(entry),
        What::Flag(flag) => of_flag(flag),
        What::MountKind(kind, about) => format!("`type={kind}`\n\n{about}"),
        What::MountOption(option) => of_option(option),
        What::Stage(index) => of_stage(document, index)?,
        What::Variable(name) => of_variable(&name, document.variables(line).get(&name)?),
        What::Declaration(name) => of_variable(&name, document.variables_after(line).get(&name)?),
    };
    Some(Hover { bytes, text })
}

fn of_instruction(entry: &InstructionEntry) -> String {
    let mut text = format!("```dockerfile\n{}\n```\n\n{}", entry.form, entry.about);
    for (index, flag) in entry.flags.iter().enumerate() {
        let gap = if index == 0 { "\n\n" } else { "\n" };
        let _ = write!(text, "{gap}- `--{}`: {}", flag.name, flag.about);
    }
    text
}

fn of_flag(flag: &FlagEntry) -> String {
    format!("```dockerfile\n{}\n```\n\n{}", flag.form(), flag.about)
}

fn of_option(option: &MountOption) -> String {
    format!("`{}` of mounts of type {}\n\n{}", option.name, option.kinds.join(", "), option.about)
}

fn of_stage(document: &Document, index: usize) -> Option<String> {
    let stage = document.file.stages.get(index)?;
    let mut text = format!("```dockerfile\n{}\n```\n\nStage {index}, line {}", stage.code, stage.span.first);
    for comment in &stage.comments {
        let _ = write!(text, "\n\n{comment}");
    }
    Some(text)
}

fn of_variable(name: &str, variable: &Variable) -> String {
    let keyword = match variable.origin {
        Origin::Arg => "ARG",
        Origin::Env => "ENV",
        Origin::Build => return format!("`{name}` is set by the build"),
    };
    let value = variable.value.as_ref().map(|value| {
        let shown: String = value.chars().take(MAX_VALUE).collect();
        format!("={shown}")
    });
    let line = variable.span.map(|span| format!("\n\nSet on line {}", span.first)).unwrap_or_default();
    let open = match (variable.origin, &value) {
        (Origin::Arg, None) => "; it has no default",
        (Origin::Arg, Some(_)) => ", unless `--build-arg` says otherwise",
        _ => "",
    };
    format!("```dockerfile\n{keyword} {name}{}\n```{line}{open}", value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::at_cursor;

    /// The word and a part of what is said.
    #[track_caller]
    fn check(text: &str, word: &str, part: &str) {
        let (document, at) = at_cursor(text);
        let Some(hover) = hover(&document, at) else { panic!("nothing is said about {text}") };
        assert_eq!(&document.text()[hover.bytes], word, "{text}");
        assert!(hover.text.contains(part), "{text}: {}", hover.text);
    }

    #[test]
    fn words_of_the_language() {
        check("FROM x\nC‸OPY a b", "COPY", "COPY [FLAGS] SOURCE");
        check("FROM x\n  onb‸uild run a", "onbuild", "ONBUILD INSTRUCTION");
        check("FROM x\nONBUILD ru‸n a", "run", "- `--mount`");
        check("FROM x\nCOPY --ch‸own=1 a b", "--chown", "--chown=USER[:GROUP]");
        check("FROM x\nRUN --network=no‸ne a", "--network", "default|none|host");
        check("FROM x\nRUN --mount=type=ca‸che,target=/x a", "cache", "kept from build to build");
        check("FROM x\nRUN --mount=type=cache,ds‸t=/x a", "dst", "Where it is mounted");
        check("FROM x\nRUN --mount=type=cache \\\n  --mount=ro‸,target=/x a", "ro", "cannot be written");
    }

    #[test]
    fn stages() {
        let stages = "# the tools\nFROM x AS tools\nFROM y AS app\n";
        check(&format!("{stages}COPY --from=To‸ols a b"), "Tools", "Stage 0, line 2\n\nthe tools");
        check(&format!("{stages}COPY --from=‸0 a b"), "0", "FROM x AS tools");
        check(&format!("{stages}RUN --mount=from=tools‸,target=/x a"), "tools", "Stage 0");
        check(&format!("{stages}FROM ap‸p AS z"), "app", "Stage 1");
        check("FROM x AS na‸me", "name", "Stage 0");
    }

    #[test]
    fn variables_with_their_values() {
        let text = "ARG V=1\nFROM x\nARG V\nENV A=a B=\"$V-b\"\nENV A=$A$A\n";
        check(&format!("{text}RUN echo $‸A"), "A", "ENV A=aa");
        check(&format!("{text}RUN echo ${{B‸:-x}}"), "B", "ENV B=1-b\n```\n\nSet on line 4");
        check(&format!("{text}COPY <<E /\n ‸$V \nE"), "V", "ARG V=1\n```\n\nSet on line 3, unless");
        check("ARG V=1\nFROM x:$‸V", "V", "ARG V=1");
        check("FROM --platform=$BUILD‸PLATFORM x", "BUILDPLATFORM", "set by the build");
        check("FROM x\nARG ‸NEW", "NEW", "it has no default");
        check("FROM x AS a\nENV A=1\nFROM a\nUSER $A‸", "A", "ENV A=1");
    }

    #[test]
    fn of_the_rest_nothing_is_said() {
        for text in [
            "FROM x\nRUN ec‸ho a",
            "FROM x\n# R‸UN",
            "FROM x\nUSER $no‸ne",
            "FROM x\nCOPY --from=no‸ne a b",
            "FROM x AS a\nFROM y\nFROM A‸",
            "FROM x\nCOPY <<E /\nRU‸N\nE",
            "FROM x\n‸\nRUN a",
            "FROM x\nNO‸PE a",
            "‸",
        ] {
            let (document, at) = at_cursor(text);
            assert_eq!(hover(&document, at), None, "{text}");
        }
    }
}
