//! Commands on containers that exist.

use clap::{ArgAction, Args, Subcommand};

use super::ListFormat;
use super::create::{CreateArgs, RunArgs};

/// Works with containers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln container ls -a\n  kiln container prune")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: Group,
}

/// `kiln container …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    #[command(name = "ls", visible_aliases = ["list", "ps"])]
    Ls(PsArgs),
    Prune(PruneArgs),
    Run(Box<RunArgs>),
    Create(Box<CreateArgs>),
    Start(StartArgs),
    Stop(StopArgs),
    Restart(RestartArgs),
    Kill(KillArgs),
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    Logs(LogsArgs),
    Exec(ExecArgs),
    Cp(CpArgs),
    Attach(AttachArgs),
    Wait(WaitArgs),
    Rename(RenameArgs),
    Top(TopArgs),
    Pause(PauseArgs),
    Unpause(UnpauseArgs),
    Port(PortArgs),
    Inspect(InspectArgs),
}

/// Starts containers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln start web\n  kiln start -ai shell")]
pub(crate) struct StartArgs {
    /// Show the output and pass signals on
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Send standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Keys that detach from the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Asks programs to end, and kills them if they do not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln stop web\n  kiln stop -t 30 web db")]
pub(crate) struct StopArgs {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL")]
    pub(crate) signal: Option<String>,
    /// Seconds to wait before it is killed
    #[arg(
        short,
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub(crate) timeout: Option<i64>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Stops containers and starts them again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln restart web")]
pub(crate) struct RestartArgs {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL")]
    pub(crate) signal: Option<String>,
    /// Seconds to wait before it is killed
    #[arg(
        short,
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub(crate) timeout: Option<i64>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Sends a signal to programs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln kill web\n  kiln kill -s HUP web")]
pub(crate) struct KillArgs {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub(crate) signal: String,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Removes containers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln rm web\n  kiln rm -f $(kiln ps -aq)")]
pub(crate) struct RmArgs {
    /// Kill them first if they run
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove their anonymous volumes, too
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Lists containers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln ps\n  kiln ps -a --format '{{.Names}}: {{.Status}}'")]
pub(crate) struct PsArgs {
    /// Those that do not run, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The N newest, running or not
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// The newest, running or not
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Only those with `name=`, `id=`, `status=`, `label=`, `ancestor=` or `exited=`
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<String>,
    #[command(flatten)]
    pub(crate) output: ListFormat,
}

/// Shows what a container wrote.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln logs -f web\n  kiln logs --tail 20 --since 10m web")]
pub(crate) struct LogsArgs {
    /// Wait for more
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The last N lines
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    pub(crate) tail: String,
    /// Not before: a time, or how long ago (10m, 2h)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// When each line was written
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// Copies files between a container and this machine.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln cp site.conf web:/etc/nginx/conf.d/\n  kiln cp web:/var/log/. logs\n  kiln cp web:/etc - | tar t",
    override_usage = "kiln cp [OPTIONS] CONTAINER:PATH PATH|-\n       kiln cp [OPTIONS] PATH|- CONTAINER:PATH"
)]
pub(crate) struct CpArgs {
    /// Keep owners; what comes into a container belongs to the user whom it runs as
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Follow a link that the source is
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// `CONTAINER:PATH`, a path, or `-` for a tar on standard input; `DIR/.` is what is in a directory
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// `CONTAINER:PATH`, a path, or `-` for a tar on standard output
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
}

/// Runs a program in a running container.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln exec -it web sh\n  kiln exec web cat /etc/hostname",
    override_usage = "kiln exec [OPTIONS] CONTAINER COMMAND [ARG...]"
)]
pub(crate) struct ExecArgs {
    /// Do not wait for it
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Send standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Environment variable
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// File of environment variables, one a line
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<std::path::PathBuf>,
    /// User, and group after a colon
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Give all capabilities
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Keys that detach from the program
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    /// Name or id, then the program and its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER COMMAND [ARG]")]
    pub(crate) container_and_command: Vec<String>,
}

/// Connects to the streams of a running container.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln attach shell\n  kiln attach --no-stdin web")]
pub(crate) struct AttachArgs {
    /// Do not send standard input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass signals on to the program
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    /// Keys that detach from the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// Waits until containers end and prints their exit codes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln wait job")]
pub(crate) struct WaitArgs {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Gives a container another name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln rename web old-web")]
pub(crate) struct RenameArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// The new name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Lists the processes of a container.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln top web")]
pub(crate) struct TopArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// Freezes containers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln pause web")]
pub(crate) struct PauseArgs {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Lets frozen containers go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln unpause web")]
pub(crate) struct UnpauseArgs {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Shows a container's published ports.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln port web\n  kiln port web 80/tcp")]
pub(crate) struct PortArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// A port in the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub(crate) port: Option<String>,
}

/// Shows everything about containers, images, volumes or networks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln inspect web\n  kiln inspect --format '{{.State.Status}}' web")]
pub(crate) struct InspectArgs {
    /// `json`, or a template such as `{{.State.Status}}`
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// JSON, which is what is printed anyway
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// `container`, `image`, `volume` or `network`
    #[arg(long = "type", value_name = "TYPE", value_parser = ["container", "image", "volume", "network"])]
    pub(crate) kind: Option<String>,
    /// Which image of an index [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Removes every container that does not run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln container prune -f")]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}
