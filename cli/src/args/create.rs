//! `kiln run` and `kiln create`: what a container can be given.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

const RUN_EXAMPLES: &str = "\
Examples:
  kiln run --rm -it debian:bookworm sh
  kiln run -d --name web -p 8080:80 -v data:/var/lib/data nginx
  kiln run --rm -e DEBUG=1 -m 256m --cpus 0.5 my-app node index.js";

const CREATE_EXAMPLES: &str = "\
Examples:
  kiln create --name web -p 8080:80 nginx
  kiln start web";

/// Runs a program in a new container.
#[derive(Debug, Args)]
#[command(
    after_help = RUN_EXAMPLES, disable_help_flag = true,
    override_usage = "kiln run [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct RunArgs {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Pass signals on to the program
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    /// Keys that detach from the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
}

/// Makes a container without starting it.
#[derive(Debug, Args)]
#[command(
    after_help = CREATE_EXAMPLES, disable_help_flag = true,
    override_usage = "kiln create [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
}

/// What both have.
#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Remove the container when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Name of the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Environment variable; without `=VALUE` taken from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// File of environment variables, one a line
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// Bind mount or volume
    #[arg(short, long = "volume", value_name = "[SOURCE:]TARGET[:ro]")]
    pub(crate) volumes: Vec<String>,
    /// Mount in long form: `type=bind|volume|tmpfs,source=…,target=…[,readonly]`
    #[arg(long = "mount", value_name = "SPEC")]
    pub(crate) mounts: Vec<String>,
    /// Memory mounted at a path
    #[arg(long = "tmpfs", value_name = "TARGET[:size=…,mode=…]")]
    pub(crate) tmpfs: Vec<String>,
    /// Publish a port
    #[arg(short, long = "publish", value_name = "[[IP:]HOST:]CONTAINER[/udp]")]
    pub(crate) publish: Vec<String>,
    /// Publish every exposed port on a free one
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User, and group after a colon
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Program instead of the image's entry point; empty clears it
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Network: `bridge`, `host` or `none`
    #[arg(long, value_name = "MODE", default_value = "bridge", alias = "net")]
    pub(crate) network: String,
    /// Host name in the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Line for `/etc/hosts`
    #[arg(long = "add-host", value_name = "NAME:IP")]
    pub(crate) add_hosts: Vec<String>,
    /// Run a small init as process 1, which reaps orphans and passes signals on
    #[arg(long)]
    pub(crate) init: bool,
    /// Label for the container
    #[arg(short, long = "label", value_name = "NAME[=VALUE]")]
    pub(crate) labels: Vec<String>,
    /// Make the root filesystem read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Add a capability
    #[arg(long = "cap-add", value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long = "cap-drop", value_name = "CAP")]
    pub(crate) cap_drop: Vec<String>,
    /// Give all capabilities, devices and paths
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Memory at most, such as 512m
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// The control group that the container's is made in, such as /builders
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,
    /// CPUs at most, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Processes at most
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// What happens when the program ends: `no`, `always`, `unless-stopped` or `on-failure[:N]`
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub(crate) restart: String,
    /// Signal that asks the program to end
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds that it then has
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u64>,
    /// Command that asks whether the program is well
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// Time between two such checks, such as 30s
    #[arg(long, value_name = "TIME")]
    pub(crate) health_interval: Option<String>,
    /// Longest that one may take
    #[arg(long, value_name = "TIME")]
    pub(crate) health_timeout: Option<String>,
    /// Time after the start in which failures do not count
    #[arg(long, value_name = "TIME")]
    pub(crate) health_start_period: Option<String>,
    /// Time between two checks in it
    #[arg(long, value_name = "TIME")]
    pub(crate) health_start_interval: Option<String>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "N")]
    pub(crate) health_retries: Option<u32>,
    /// Do not ask, whatever the image says
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
    /// When to ask the registry for the image
    #[arg(long, value_enum, default_value_t = Pull::Missing, value_name = "WHEN")]
    pub(crate) pull: Pull,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Write the container's id to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub(crate) help: Option<bool>,
    /// The image, then the program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND] [ARG]")]
    pub(crate) image_and_command: Vec<String>,
}

/// When the registry is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Every time
    Always,
    /// If it is not here
    Missing,
    /// Never
    Never,
}
