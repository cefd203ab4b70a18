//! `RUN [flags] command`.

use super::command::{CommandLine, command_line};
use super::mount::{MountSpec, parse_mount};
use super::{Line, Problem};
use crate::flags::Flags;
use crate::heredoc::Heredoc;

/// A command that makes a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: CommandLine,
    /// Texts given in the file.
    pub heredocs: Vec<Heredoc>,
    /// `--mount` as written; variables in it are expanded later.
    pub mounts: Vec<String>,
    /// `--network`: `default`, `none` or `host`.
    pub network: Option<String>,
    /// `--security`: `sandbox` or `insecure`.
    pub security: Option<String>,
    /// `--device`: a CDI name, and whether it is required.
    pub devices: Vec<(String, bool)>,
}

impl Run {
    /// The mounts as far as they are known before variables are expanded: `from` never has any.
    pub(crate) fn mounts_from(&self) -> impl Iterator<Item = String> {
        self.mounts.iter().filter_map(|mount| super::mount::from_of(mount))
    }
}

pub(super) fn parse(line: Line<'_>) -> Result<Run, Problem> {
    let mut flags = Flags::new(line.flags);
    let run = Run {
        mounts: flags.all("mount")?,
        network: choice(flags.one("network")?, "network", &["default", "none", "host"])?,
        security: choice(flags.one("security")?, "security", &["sandbox", "insecure"])?,
        devices: flags.all("device")?.iter().map(|text| device(text)).collect::<Result<_, _>>()?,
        command: command_line(line.rest)?,
        heredocs: Vec::new(),
    };
    flags.finish()?;
    for mount in run.mounts.iter().filter(|mount| !mount.contains('$')) {
        let _: MountSpec = parse_mount(mount)?;
    }
    match &run.command {
        CommandLine::Shell(text) if text.is_empty() => {
            Err(Problem::new("RUN requires at least one argument"))
        }
        CommandLine::Exec(args) if args.is_empty() => Err(Problem::new("RUN requires at least one argument")),
        CommandLine::Shell(_) => Ok(Run { heredocs: line.heredocs, ..run }),
        CommandLine::Exec(_) => Ok(run),
    }
}

fn choice(value: Option<String>, flag: &str, known: &[&str]) -> Result<Option<String>, Problem> {
    let Some(value) = value else { return Ok(None) };
    if known.contains(&value.as_str()) {
        return Ok(Some(value));
    }
    let help = Some(format!("it is one of `{}`", known.join("`, `")));
    Err(Problem { message: format!("unsupported {flag} mode `{value}`"), help })
}

/// `name[,required]`.
fn device(text: &str) -> Result<(String, bool), Problem> {
    let (name, option) = text.split_once(',').map_or((text, None), |(name, option)| (name, Some(option)));
    let name = name.strip_prefix("name=").unwrap_or(name);
    match option {
        _ if name.is_empty() => Err(Problem::new("`--device` requires a name")),
        None => Ok((name.to_owned(), false)),
        Some("required" | "required=true") => Ok((name.to_owned(), true)),
        Some("required=false") => Ok((name.to_owned(), false)),
        Some(other) => Err(Problem::new(format!("unexpected key `{other}` in `--device`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Instruction;
    use crate::instruction::check;

    fn run(text: &str) -> Run {
        match check(text) {
            Ok(Instruction::Run(run)) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_and_forms() {
        let found = run(
            "RUN --mount=target=/x --network=none --security=insecure --device=a/b=c,required make \"a b\"",
        );
        assert_eq!(found.command, CommandLine::Shell("make \"a b\"".to_owned()));
        assert_eq!((found.mounts.len(), found.network.as_deref()), (1, Some("none")));
        assert_eq!(found.devices, [("a/b=c".to_owned(), true)]);
        assert_eq!(run("RUN -- --odd").command, CommandLine::Shell("--odd".to_owned()));
    }

    #[test]
    fn complaints() {
        for bad in
            ["RUN", "RUN []", "RUN --network=x y", "RUN --mount=type=x y", "RUN --mount y", "RUN --x y"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
