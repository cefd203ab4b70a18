//! What can be typed: one struct a command, one file a group of commands.

pub(crate) mod build;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod debug;
pub(crate) mod fmt;
pub(crate) mod image;
pub(crate) mod lsp;
pub(crate) mod network;
pub(crate) mod registry;
pub(crate) mod system;
pub(crate) mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where images, containers and caches are kept [env: KILN_ROOT] [default: /var/lib/kiln]
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
    Build(Box<build::BuildArgs>),
    Run(Box<create::RunArgs>),
    Create(Box<create::CreateArgs>),
    Start(container::StartArgs),
    Stop(container::StopArgs),
    Restart(container::RestartArgs),
    Kill(container::KillArgs),
    Rm(container::RmArgs),
    Ps(container::PsArgs),
    Logs(container::LogsArgs),
    Exec(container::ExecArgs),
    Attach(container::AttachArgs),
    Wait(container::WaitArgs),
    Rename(container::RenameArgs),
    Top(container::TopArgs),
    Pause(container::PauseArgs),
    Unpause(container::UnpauseArgs),
    Port(container::PortArgs),
    Inspect(container::InspectArgs),
    // Images.
    Images(image::ListArgs),
    Pull(image::PullArgs),
    Push(image::PushArgs),
    Tag(image::TagArgs),
    Rmi(image::RemoveArgs),
    Save(image::SaveArgs),
    Load(image::LoadArgs),
    Import(image::ImportArgs),
    History(image::HistoryArgs),
    Login(registry::LoginArgs),
    Logout(registry::LogoutArgs),
    // Dockerfiles.
    Fmt(fmt::FmtArgs),
    Lsp(lsp::LspArgs),
    // Groups.
    Container(container::GroupArgs),
    Image(image::GroupArgs),
    Volume(volume::GroupArgs),
    Network(network::GroupArgs),
    System(system::GroupArgs),
    // kiln itself.
    Info(system::InfoArgs),
    Version(system::VersionArgs),
    Debug(Box<debug::GroupArgs>),
    Completion(system::CompletionArgs),
    #[command(hide = true)]
    Init(system::InitArgs),
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
