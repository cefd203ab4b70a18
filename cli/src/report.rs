//! An error as people see it: message, snippet, hint, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind as UsageKind;
use kiln_engine::{Error, ErrorKind};

use crate::args::Command;
use crate::render::progress::readable;
use crate::{terminal, text};

/// Docker's code for a failure of the tool itself, where small codes belong to the container's program.
const TOOL_FAILED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit code of a failed command that has no better one.
pub(crate) fn failure_code(command: &Command) -> u8 {
    if command.runs_a_program() { TOOL_FAILED } else { 1 }
}

/// The exit code of an error; `otherwise` where its kind has none of its own.
pub(crate) fn exit_code(kind: ErrorKind, otherwise: u8) -> u8 {
    match kind {
        ErrorKind::CommandNotExecutable => NOT_EXECUTABLE,
        ErrorKind::CommandNotFound => NOT_FOUND,
        ErrorKind::Cancelled => INTERRUPTED,
        _ => otherwise,
    }
}

/// Prints an error.
pub(crate) fn print(error: &Error) {
    let styles = terminal::stderr_is_coloured().then_some(("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m"));
    // Nothing is left to do where standard error is closed.
    let _ = std::io::stderr().write_all(render(error, styles).as_bytes());
}

/// The detail, `error: …`, `hint: …`, so that what matters most is where the eye is; `styles` are those of error, hint and the end of both.
fn render(error: &Error, styles: Option<(&str, &str, &str)>) -> String {
    let (red, blue, end) = styles.unwrap_or_default();
    let mut lines = String::new();
    if let Some(log) = &error.log {
        lines.push_str(&readable(log, styles.is_some()));
    }
    if let Some(detail) = &error.detail {
        lines.push_str(text::neutral(detail).trim_end_matches('\n'));
        lines.push('\n');
    }
    lines.push_str(&format!("{red}error:{end} {}\n", text::neutral(&error.chain())));
    for hint in error.hint.iter().flat_map(|hint| hint.lines()) {
        lines.push_str(&format!("{blue}hint:{end} {}\n", text::neutral(hint)));
    }
    lines
}

/// Prints what clap has to say: help and version to standard output, mistakes as errors.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match error.kind() {
        UsageKind::DisplayHelp | UsageKind::DisplayVersion => ExitCode::SUCCESS,
        UsageKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::from(1),
        _ => ExitCode::from(usage_code(std::env::args().skip(1))),
    }
}

/// The code of a mistake in the arguments: told from the words, as there is no parsed command.
fn usage_code(words: impl Iterator<Item = String>) -> u8 {
    let mut words = words.filter(|word| !word.starts_with('-') && word != "container");
    let runs = |word: &String| matches!(word.as_str(), "run" | "create" | "exec" | "start");
    if words.by_ref().take(2).any(|word| runs(&word)) { TOOL_FAILED } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_message_detail_and_hint() {
        let error = Error::invalid("COPY src/ /app: `src/` is not in the build context")
            .with_detail("Dockerfile:3\n   3 | >>> COPY src/ /app\n")
            .with_hint(".dockerignore line 3 excludes it");
        let expected = "\
Dockerfile:3
   3 | >>> COPY src/ /app
error: COPY src/ /app: `src/` is not in the build context
hint: .dockerignore line 3 excludes it
";
        assert_eq!(render(&error, None), expected);
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let error = Error::invalid("no image `a\x1b[2Jb\u{202e}c`").with_detail("\x1b]0;title\x07");
        let said = render(&error, None);
        assert!(!said.contains(['\x1b', '\x07', '\u{202e}']), "{said:?}");
    }

    #[test]
    fn codes_are_dockers() {
        assert_eq!(exit_code(ErrorKind::CommandNotFound, 125), 127);
        assert_eq!(exit_code(ErrorKind::CommandNotExecutable, 125), 126);
        assert_eq!(exit_code(ErrorKind::NotFound, 125), 125);
        assert_eq!(exit_code(ErrorKind::NotFound, 1), 1);
        assert_eq!(exit_code(ErrorKind::Cancelled, 1), 130);
        let code = |line: &str| usage_code(line.split(' ').map(str::to_owned));
        assert_eq!(code("run --no-such-flag busybox"), 125);
        assert_eq!(code("--root /x run --no-such-flag busybox"), 125);
        assert_eq!(code("container run --no-such-flag"), 125);
        assert_eq!(code("build --no-such-flag ."), 1);
    }
}
