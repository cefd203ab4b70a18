//! `kiln debug …`: every intermediate value of a build and of a run.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::create::CreateArgs;

/// Prints the intermediate values of a build or a run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln debug ast .\n  kiln debug graph --format dot . | dot -Tsvg")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: Group,
}

/// `kiln debug …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    Ast(SourceArgs),
    Graph(GraphArgs),
    Keys(BuildSourceArgs),
    Plan(PlanArgs),
    Spec(SpecArgs),
}

/// Prints a Dockerfile's syntax tree and its diagnostics.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln debug ast .\n  kiln debug ast -f docker/Dockerfile .")]
pub(crate) struct SourceArgs {
    #[command(flatten)]
    pub(crate) source: Source,
}

/// Prints the keys of a build's vertices.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln debug keys --target build .")]
pub(crate) struct BuildSourceArgs {
    #[command(flatten)]
    pub(crate) build: BuildSource,
}

/// Prints a build's graph.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln debug graph .\n  kiln debug graph --format dot . | dot -Tsvg > graph.svg"
)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) build: BuildSource,
    /// Text or Graphviz
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub(crate) format: GraphFormat,
}

/// Prints the steps that a container's child performs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln debug plan --read-only busybox true",
    disable_help_flag = true,
    override_usage = "kiln debug plan [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// Prints the OCI runtime specification of a container.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln debug spec -m 64m busybox true",
    disable_help_flag = true,
    override_usage = "kiln debug spec [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct SpecArgs {
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// Where a Dockerfile is.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The Dockerfile, or `-` for one on standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// The folder, URL, or `-` for standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: String,
}

/// What decides over a graph.
#[derive(Debug, Args)]
pub(crate) struct BuildSource {
    /// Value of an ARG
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// What stands in for a stage or image
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    pub(crate) build_contexts: Vec<String>,
    /// The stage to build
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Platforms to build for, separated by commas
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    #[command(flatten)]
    pub(crate) source: Source,
}

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Lines
    Text,
    /// Graphviz
    Dot,
}
