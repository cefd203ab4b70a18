//! `RUN [flags] command`.

use super::command::{CommandLine, command_line};
use super::mount::{MountSpec, boolean, mount_fields, parse_mount};
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
        // An empty text is run by the shell, which does nothing; an empty list has no program.
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

/// A comma-separated record of a name, as such or as `name=`, and `required`.
fn device(text: &str) -> Result<(String, bool), Problem> {
    let (mut device, mut required) = (None, false);
    for field in mount_fields(text)? {
        let (key, value) = field.split_once('=').map_or((&*field, None), |(key, value)| (key, Some(value)));
        match (key.to_ascii_lowercase().as_str(), value) {
            ("required", value) => required = boolean("required", value)?,
            ("name", Some(_)) if device.is_some() => {
                return Err(Problem::new("`--device` has more than one name"));
            }
            ("name", Some(name)) => device = Some(name.to_owned()),
            _ if device.is_none() => device = Some(field),
            _ => return Err(Problem::new(format!("unexpected key `{key}` in `--device={text}`"))),
        }
    }
    let name = device.filter(|name| !name.is_empty());
    Ok((name.ok_or_else(|| Problem::new("`--device` requires a name"))?, required))
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
        assert_eq!(run("RUN").command, CommandLine::Shell(String::new()));
    }

    #[test]
    fn devices_are_records() {
        for (text, name, required) in [
            ("a/b=c,required", "a/b=c", true),
            ("required=false,name=a/b", "a/b", false),
            ("a/b=*,required=1", "a/b=*", true),
            ("org.mobyproject.buildkit.device.class", "org.mobyproject.buildkit.device.class", false),
        ] {
            assert_eq!(device(text), Ok((name.to_owned(), required)), "{text}");
        }
        for bad in ["", "required", "a/b,c=d", "a/b,name=c", "a,required=maybe"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn complaints() {
        for bad in ["RUN []", "RUN --network=x y", "RUN --mount=type=x y", "RUN --mount y", "RUN --x y"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for mode in ["-1", "0", "2", "99", "2147483647", "", "Insecure", "sandbox,insecure"] {
            assert!(check(&format!("RUN --security={mode} y")).is_err(), "{mode}");
        }
    }
}
