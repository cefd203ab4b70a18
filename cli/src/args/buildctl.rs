//! `kiln buildctl …`: what BuildKit's drivers run beside a daemon.

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  kiln buildctl debug workers
  kiln buildctl --addr unix:///run/kiln.sock debug workers --format json";

/// Asks a daemon of the BuildKit API, as far as the drivers of `docker buildx` do with BuildKit's `buildctl`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_version_flag = true)]
pub(crate) struct BuildctlArgs {
    /// The daemon's socket [env: BUILDKIT_HOST] [default: unix:///run/buildkit/buildkitd.sock]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) addr: Option<String>,
    /// Seconds that the daemon may take to answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) timeout: u64,
    /// Print the version
    #[arg(short, long)]
    pub(crate) version: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Group>,
}

/// `kiln buildctl …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    DialStdio(DialStdioArgs),
    Debug(DebugArgs),
}

/// Connects standard input and output with the daemon; `docker buildx` runs it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln buildctl dial-stdio")]
pub(crate) struct DialStdioArgs {}

/// Shows what a daemon says of itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln buildctl debug workers\n  kiln buildctl debug info")]
pub(crate) struct DebugArgs {
    #[command(subcommand)]
    pub(crate) command: DebugGroup,
}

/// `kiln buildctl debug …`
#[derive(Debug, Subcommand)]
pub(crate) enum DebugGroup {
    Workers(WorkersArgs),
    Info(InfoArgs),
}

/// Lists the daemon's workers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln buildctl debug workers\n  kiln buildctl debug workers -v")]
pub(crate) struct WorkersArgs {
    /// Labels and versions, too
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// `json`, or a template such as `{{range .}}{{.ID}} {{end}}`
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// Shows which BuildKit the daemon is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln buildctl debug info")]
pub(crate) struct InfoArgs {}
