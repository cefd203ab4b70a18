//! `kiln login` and `kiln logout`.

use clap::Args;

/// Checks and keeps credentials for a registry.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln login -u me registry.example\n  kiln login -u me --password-stdin < token"
)]
pub(crate) struct LoginArgs {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password; seen by everybody on this machine, `--password-stdin` is not
    #[arg(short, long, conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// The registry [default: Docker Hub]
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: Option<String>,
}

/// Forgets credentials for a registry.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln logout registry.example")]
pub(crate) struct LogoutArgs {
    /// The registry [default: Docker Hub]
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: Option<String>,
}
