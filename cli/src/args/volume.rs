//! `kiln volume …`.

use clap::{Args, Subcommand};

use super::ListFormat;

/// Works with volumes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln volume create data\n  kiln volume ls")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: Group,
}

/// `kiln volume …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    #[command(name = "ls", visible_alias = "list")]
    Ls(ListArgs),
    Create(CreateArgs),
    Inspect(InspectArgs),
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    Prune(PruneArgs),
}

/// Lists volumes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln volume ls -q")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) output: ListFormat,
}

/// Makes a volume.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln volume create data")]
pub(crate) struct CreateArgs {
    /// Label for the volume
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Name; made up where there is none
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Shows everything about volumes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln volume inspect --format '{{.Mountpoint}}' data")]
pub(crate) struct InspectArgs {
    /// `json`, or a template such as `{{.Mountpoint}}`
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) names: Vec<String>,
}

/// Removes volumes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln volume rm data")]
pub(crate) struct RmArgs {
    /// A missing volume is no error
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) names: Vec<String>,
}

/// Removes anonymous volumes that no container uses.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln volume prune -f")]
pub(crate) struct PruneArgs {
    /// Named ones, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}
