//! What can be typed: one struct a command, one file a group of commands.

pub(crate) mod build;
pub(crate) mod buildctl;
pub(crate) mod buildkitd;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod debug;
pub(crate) mod fmt;
pub(crate) mod image;
pub(crate) mod lazy;
pub(crate) mod lsp;
pub(crate) mod network;
pub(crate) mod registry;
pub(crate) mod serve;
pub(crate) mod system;
pub(crate) mod volume;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use lazy::Lazy;

const EXAMPLES: &str = "\
Examples:
  kiln build -t my-app .
  kiln run --rm -it debian:bookworm sh
  kiln run -d --name web -p 8080:80 nginx
  kiln logs -f web";

/// Builds and runs containers.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, after_help = EXAMPLES, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What was typed. Help and mistakes are told with the options of every command at hand.
    pub(crate) fn read() -> Result<Cli, clap::Error> {
        let words = words(std::env::args_os());
        Cli::try_parse_from(&words).or_else(|_| {
            let mut whole = Cli::command();
            whole.build();
            let matches = whole.try_get_matches_from_mut(&words)?;
            Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut whole))
        })
    }
}

/// Names under which kiln is a program of BuildKit's, when it is called by them.
const OTHER_NAMES: [&str; 2] = ["buildkitd", "buildctl"];

/// The words of the command line, with the command that the program's own name stands for.
fn words(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = typed.collect();
    let name = words.first().and_then(|word| Path::new(word).file_name());
    let other = name.and_then(|name| OTHER_NAMES.into_iter().find(|other| name == *other));
    if let Some(other) = other {
        words.splice(..1, ["kiln".into(), other.into()]);
    }
    words
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where images, containers and caches are kept [env: KILN_ROOT] [default: /var/lib/kiln, a user's $XDG_DATA_HOME/kiln]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Configuration file [env: KILN_CONFIG] [default: /etc/kiln/kiln.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Say on standard error what is being done
    #[arg(long, global = true)]
    pub(crate) debug: bool,
}

/// The commands, each with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // Build and run.
    Build(Lazy<Box<build::BuildArgs>>),
    Run(Lazy<Box<create::RunArgs>>),
    Create(Lazy<Box<create::CreateArgs>>),
    Start(Lazy<container::StartArgs>),
    Stop(Lazy<container::StopArgs>),
    Restart(Lazy<container::RestartArgs>),
    Kill(Lazy<container::KillArgs>),
    Rm(Lazy<container::RmArgs>),
    Ps(Lazy<container::PsArgs>),
    Logs(Lazy<container::LogsArgs>),
    Exec(Lazy<container::ExecArgs>),
    Cp(Lazy<container::CpArgs>),
    Attach(Lazy<container::AttachArgs>),
    Wait(Lazy<container::WaitArgs>),
    Rename(Lazy<container::RenameArgs>),
    Top(Lazy<container::TopArgs>),
    Pause(Lazy<container::PauseArgs>),
    Unpause(Lazy<container::UnpauseArgs>),
    Port(Lazy<container::PortArgs>),
    Inspect(Lazy<container::InspectArgs>),
    // Images.
    Images(Lazy<image::ListArgs>),
    Pull(Lazy<image::PullArgs>),
    Push(Lazy<image::PushArgs>),
    Tag(Lazy<image::TagArgs>),
    Rmi(Lazy<image::RemoveArgs>),
    Save(Lazy<image::SaveArgs>),
    Load(Lazy<image::LoadArgs>),
    Import(Lazy<image::ImportArgs>),
    Rebase(Lazy<image::RebaseArgs>),
    History(Lazy<image::HistoryArgs>),
    Login(Lazy<registry::LoginArgs>),
    Logout(Lazy<registry::LogoutArgs>),
    // Dockerfiles.
    Fmt(Lazy<fmt::FmtArgs>),
    Lsp(Lazy<lsp::LspArgs>),
    // Groups.
    Container(Lazy<container::GroupArgs>),
    Image(Lazy<image::GroupArgs>),
    Volume(Lazy<volume::GroupArgs>),
    Network(Lazy<network::GroupArgs>),
    System(Lazy<system::GroupArgs>),
    // kiln itself.
    Serve(Lazy<serve::ServeArgs>),
    Buildkitd(Lazy<Box<buildkitd::BuildkitdArgs>>),
    Buildctl(Lazy<buildctl::BuildctlArgs>),
    Info(Lazy<system::InfoArgs>),
    Version(Lazy<system::VersionArgs>),
    Debug(Lazy<Box<debug::GroupArgs>>),
    Completion(Lazy<system::CompletionArgs>),
    #[command(hide = true)]
    Init(Lazy<system::InitArgs>),
}

/// How a list is written.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ListFormat {
    /// `table`, `json`, or a template such as `{{.ID}}: {{.Names}}` (prefix `table` adds titles)
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) format: Option<String>,
    /// One JSON object a line; the same as `--format json`
    #[arg(long)]
    pub(crate) json: bool,
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Do not shorten
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_name_can_be_a_command() {
        let of = |line: &str| words(line.split(' ').map(OsString::from)).join(&OsString::from(" "));
        assert_eq!(of("/usr/bin/buildkitd --debug"), "kiln buildkitd --debug");
        assert_eq!(of("buildctl dial-stdio"), "kiln buildctl dial-stdio");
        assert_eq!(of("./kiln buildctl"), "./kiln buildctl");
        assert_eq!(of("/buildkitd/kiln x"), "/buildkitd/kiln x");
    }
}
