//! Commands on kiln itself and on the state root as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Works with the state root as a whole.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln system df\n  kiln system prune -a --volumes")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: Group,
}

/// `kiln system …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    Df(DfArgs),
    Prune(PruneArgs),
    Check(CheckArgs),
    Reset(ResetArgs),
    Info(InfoArgs),
    Install(InstallArgs),
    Uninstall(UninstallArgs),
}

/// Shows what uses the disk.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln system df\n  kiln system df --json")]
pub(crate) struct DfArgs {
    /// `table`, `json`, or a template such as `{{.Type}} {{.Size}}`
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) format: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Removes what nothing uses: stopped containers, dangling images, the build cache.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln system prune -f\n  kiln system prune -a --volumes")]
pub(crate) struct PruneArgs {
    /// Images with a name that no container uses, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Anonymous volumes, too
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Reads everything again and says what is broken.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln system check\n  kiln system check --repair")]
pub(crate) struct CheckArgs {
    /// Remove what is broken
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Stops every container and removes everything in the state root, networks and rules included.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln --root /tmp/try system reset -f")]
pub(crate) struct ResetArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Shows the machine, the state root and the configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln info\n  kiln info --format '{{.KernelVersion}}'")]
pub(crate) struct InfoArgs {
    /// `json`, or a template such as `{{.KernelVersion}}`
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) format: Option<String>,
    /// JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Writes systemd's units of the daemon: a socket, and the service that is started when somebody connects to it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln system install --group docker\n  kiln system install --print\n  kiln system install --destdir ./package --program /usr/bin/kiln -- --shutdown-timeout 5m"
)]
pub(crate) struct InstallArgs {
    /// Write below this folder instead of into the running system
    #[arg(long, value_name = "DIR")]
    pub(crate) destdir: Option<PathBuf>,
    /// Print the units and write nothing
    #[arg(long, conflicts_with = "destdir")]
    pub(crate) print: bool,
    /// The group that may connect to the socket
    #[arg(short = 'G', long, value_name = "GROUP", default_value = "root")]
    pub(crate) group: String,
    /// The socket
    #[arg(long, value_name = "PATH", default_value = "/run/kiln.sock")]
    pub(crate) socket: PathBuf,
    /// The program that the service runs [default: this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Option<PathBuf>,
    /// More options of `kiln serve`
    #[arg(last = true, value_name = "OPTION")]
    pub(crate) options: Vec<String>,
}

/// Removes the units that `install` wrote.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln system uninstall\n  kiln system uninstall --destdir ./package")]
pub(crate) struct UninstallArgs {
    /// Remove them below this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) destdir: Option<PathBuf>,
}

/// Shows kiln's version.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln version\n  kiln version --format '{{.Version}}'")]
pub(crate) struct VersionArgs {
    /// `json`, or a template such as `{{.Version}}`
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) format: Option<String>,
    /// JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln completion bash > /etc/bash_completion.d/kiln")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Is process 1 of a container.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln init -- PROGRAM ARG")]
pub(crate) struct InitArgs {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}
