//! `CMD` and `ENTRYPOINT`, and the command line that they share with `RUN` and `HEALTHCHECK`.

use super::{Line, Problem};
use crate::flags::Flags;
use crate::words::json_list;

/// How a command was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A text for the shell.
    Shell,
    /// A JSON list.
    Exec,
}

/// A command in one of its forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A text for the shell in force.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

impl CommandLine {
    /// How it was written.
    pub fn form(&self) -> Form {
        match self {
            CommandLine::Shell(_) => Form::Shell,
            CommandLine::Exec(_) => Form::Exec,
        }
    }

    /// The arguments, with `shell` in front of a text.
    pub fn with_shell(&self, shell: &[String]) -> Vec<String> {
        match self {
            CommandLine::Shell(text) => shell.iter().chain([text]).cloned().collect(),
            CommandLine::Exec(args) => args.clone(),
        }
    }
}

pub(super) fn parse(line: &Line<'_>) -> Result<CommandLine, Problem> {
    Flags::new(line.flags).finish()?;
    command_line(line.rest)
}

pub(super) fn command_line(text: &str) -> Result<CommandLine, Problem> {
    Ok(match json_list(text)? {
        Some(args) => CommandLine::Exec(args),
        None => CommandLine::Shell(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Instruction;
    use crate::instruction::check;

    #[test]
    fn both_forms() {
        let exec = CommandLine::Exec(vec!["a".to_owned(), "b c".to_owned()]);
        assert_eq!(check(r#"CMD [ "a", "b c" ]"#).unwrap(), Instruction::Cmd(exec));
        let shell = CommandLine::Shell("['a']".to_owned());
        assert_eq!(check("ENTRYPOINT ['a']").unwrap(), Instruction::Entrypoint(shell));
        assert_eq!(check("CMD []").unwrap(), Instruction::Cmd(CommandLine::Exec(vec![])));
        assert!(check("CMD [1]").is_err());
    }
}
