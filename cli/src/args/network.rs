//! `kiln network …`.

use clap::{Args, Subcommand};

use super::ListFormat;

/// Works with networks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln network ls")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: Group,
}

/// `kiln network …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    #[command(name = "ls", visible_alias = "list")]
    Ls(ListArgs),
}

/// Lists networks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln network ls --json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) output: ListFormat,
}
