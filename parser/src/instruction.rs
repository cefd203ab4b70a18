//! The instructions, one a file; each turns a line into its own value.

mod add;
mod arg;
mod command;
mod copy;
mod doubts;
mod env;
mod expose;
mod from;
mod healthcheck;
mod key_value;
mod label;
mod mount;
mod onbuild;
mod run;
mod shell;
mod simple;
mod sources;
mod stopsignal;
mod volume;

pub use add::Add;
pub use arg::Arg;
pub use command::{CommandLine, Form};
pub use copy::Copy;
pub use env::Env;
pub use expose::Expose;
pub use from::From;
pub use healthcheck::{Health, Healthcheck};
pub use key_value::KeyValue;
pub use label::Label;
pub use mount::{MountKind, MountSpec};
pub use onbuild::Onbuild;
pub use run::Run;
pub use sources::Sources;

pub(crate) use doubts::doubts;
pub(crate) use expose::ports;
pub(crate) use mount::{mount_fields, mount_of};
pub(crate) use onbuild::forbidden_trigger;
pub(crate) use stopsignal::is_signal;

use crate::ast::Instruction;
use crate::flags::{Flags, Split};
use crate::heredoc::Heredoc;
use crate::{Diagnostic, Severity, Span};

/// Every keyword.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What is wrong with an instruction, before it is known where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Problem { message: message.into(), help: None }
    }

    /// The same as a warning at a place.
    pub(crate) fn warning(self, span: Span) -> Diagnostic {
        let diagnostic = Diagnostic::error(span, self.message).with_help(self.help);
        Diagnostic { severity: Severity::Warning, ..diagnostic }
    }
}

/// One instruction's text, cut but not understood.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// The keyword in upper case.
    pub(crate) keyword: &'static str,
    pub(crate) flags: &'a [String],
    pub(crate) rest: &'a str,
    /// All behind the keyword, flags and final white space included.
    pub(crate) all: &'a str,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) escape: char,
}

/// A parsed line: `FROM` begins a stage, all else is inside one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    From(From),
    Other(Instruction),
}

impl Line<'_> {
    /// The rest of the line, which must not be empty.
    fn argument(&self) -> Result<&str, Problem> {
        if self.rest.is_empty() {
            return Err(Problem::new(format!("{} requires at least one argument", self.keyword)));
        }
        Ok(self.rest)
    }

    /// The rest of the line, for an instruction without flags.
    fn only_argument(&self) -> Result<&str, Problem> {
        Flags::new(self.flags).finish()?;
        self.argument()
    }
}

/// Understands a cut line.
pub(crate) fn parse(split: &Split<'_>, heredocs: Vec<Heredoc>, escape: char) -> Result<Parsed, Problem> {
    let Some(keyword) = KEYWORDS.into_iter().find(|keyword| keyword.eq_ignore_ascii_case(split.keyword))
    else {
        let help = nearest(split.keyword, &KEYWORDS).map(|known| format!("did you mean `{known}`?"));
        let shown: String = split.keyword.chars().take(64).collect();
        return Err(Problem { message: format!("unknown instruction `{shown}`"), help });
    };
    let line = Line { keyword, flags: &split.flags, rest: split.rest, all: split.all, heredocs, escape };
    if keyword == "FROM" {
        return from::parse(&line).map(Parsed::From);
    }
    dispatch(line).map(Parsed::Other)
}

fn dispatch(line: Line<'_>) -> Result<Instruction, Problem> {
    Ok(match line.keyword {
        "ADD" => Instruction::Add(add::parse(line)?),
        "ARG" => Instruction::Arg(arg::parse(&line)?),
        "CMD" => Instruction::Cmd(command::parse(&line)?),
        "COPY" => Instruction::Copy(copy::parse(line)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command::parse(&line)?),
        "ENV" => Instruction::Env(env::parse(&line)?),
        "EXPOSE" => Instruction::Expose(expose::parse(&line)?),
        "HEALTHCHECK" => Instruction::Healthcheck(healthcheck::parse(&line)?),
        "LABEL" => Instruction::Label(label::parse(&line)?),
        "MAINTAINER" => Instruction::Maintainer(simple::parse(&line)?),
        "ONBUILD" => Instruction::Onbuild(onbuild::parse(&line)?),
        "RUN" => Instruction::Run(run::parse(line)?),
        "SHELL" => Instruction::Shell(shell::parse(&line)?),
        "STOPSIGNAL" => Instruction::StopSignal(stopsignal::parse(&line)?),
        "USER" => Instruction::User(simple::parse(&line)?),
        "VOLUME" => Instruction::Volume(volume::parse(&line)?),
        _ => Instruction::Workdir(simple::parse(&line)?),
    })
}

/// The known word that is most like `word`, if any is.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const NEAR: usize = 3;
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    let may_be_near = |known: &&&str| known.len().abs_diff(word.len()) <= NEAR;
    let distance = |known: &&str| strsim::damerau_levenshtein(&word, &known.to_lowercase());
    let near = known.iter().filter(may_be_near).map(|known| (distance(known), *known));
    let (distance, best) = near.min_by_key(|(distance, _)| *distance)?;
    let limit = NEAR.min(best.len().max(2) / 2);
    (distance <= limit).then_some(best)
}

/// Parses one line for the tests of each instruction.
#[cfg(test)]
fn check(text: &str) -> Result<Instruction, String> {
    let split = crate::flags::split(text, '\\');
    match parse(&split, crate::heredoc::announced(text), '\\') {
        Ok(Parsed::Other(instruction)) => Ok(instruction),
        Ok(Parsed::From(from)) => panic!("{from:?}"),
        Err(problem) => Err(problem.message),
    }
}
