//! What is accepted because BuildKit accepts it, but can hardly be meant.

use super::{CommandLine, Instruction, Problem, parse};
use crate::flags::{Split, split};
use crate::heredoc;

/// What to warn of, now that the line was understood.
pub(crate) fn doubts(line: &Split<'_>, instruction: &Instruction) -> Vec<Problem> {
    match instruction {
        Instruction::Arg(_)
        | Instruction::StopSignal(_)
        | Instruction::Healthcheck(super::Healthcheck::None) => {
            line.flags.iter().map(|flag| ignored_flag(line.keyword, flag)).collect()
        }
        Instruction::Cmd(command) | Instruction::Entrypoint(command) => {
            like_json(command).into_iter().collect()
        }
        Instruction::Run(run) => like_json(&run.command).into_iter().collect(),
        Instruction::Workdir(_) | Instruction::User(_) => comment_behind(line.rest).into_iter().collect(),
        Instruction::Onbuild(_) => broken_trigger(line.rest).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn ignored_flag(keyword: &str, flag: &str) -> Problem {
    let name = flag.split('=').next().unwrap_or(flag);
    Problem {
        message: format!("flag `{name}` is ignored: {} takes none here", keyword.to_ascii_uppercase()),
        help: Some("take it away".to_owned()),
    }
}

/// A list with the wrong quotes is a text for the shell, which finds no program of such a name.
fn like_json(command: &CommandLine) -> Option<Problem> {
    let CommandLine::Shell(text) = command else { return None };
    let first = text.strip_prefix('[')?.trim_start().chars().next()?;
    matches!(first, '\'' | '“' | '”' | '‘' | '’').then(|| Problem {
        message: "this is no JSON list, so a shell executes it as it stands".to_owned(),
        help: Some("strings of a list stand in double quotes, `\"`".to_owned()),
    })
}

/// A comment stands on lines of its own; behind an instruction it is a part of it.
fn comment_behind(text: &str) -> Option<Problem> {
    let (_, comment) = text.split_once(" #")?;
    Some(Problem {
        message: format!("`#{comment}` is not a comment but a part of the value"),
        help: Some("a comment stands on a line of its own".to_owned()),
    })
}

/// A trigger is read where it fires; with a backslash as escape, whatever this file says.
fn broken_trigger(text: &str) -> Option<Problem> {
    let problem = parse(&split(text, '\\'), heredoc::announced(text), '\\').err()?;
    let message = format!("this trigger will fail in every image built from this one: {}", problem.message);
    Some(Problem { message, ..problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruction::Parsed;

    fn found(text: &str) -> Vec<String> {
        let line = split(text, '\\');
        let Ok(Parsed::Other(instruction)) = parse(&line, Vec::new(), '\\') else { panic!("{text}") };
        doubts(&line, &instruction).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn item_13_flags_that_nobody_reads_are_warned_of() {
        for text in ["ARG --x a=b", "stopsignal --x=1 TERM", "HEALTHCHECK --retries=1 NONE"] {
            let found = found(text);
            assert!(found[0].starts_with("flag `--"), "{text}: {found:?}");
        }
        assert!(found("ARG a").is_empty());
    }

    #[test]
    fn triggers_that_cannot_work_are_warned_of() {
        assert!(found("ONBUILD COPY a")[0].ends_with("COPY requires at least two arguments"));
        assert!(found("ONBUILD X")[0].ends_with("unknown instruction `X`"));
        assert!(found("ONBUILD RUN a").is_empty());
    }
}
