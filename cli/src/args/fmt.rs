//! `kiln fmt`.

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  kiln fmt                        the Dockerfile of this folder
  kiln fmt Dockerfile build/Dockerfile.test
  kiln fmt --check .              in a pipeline: exit code 1 if something would change
  kiln fmt --diff Dockerfile
  kiln fmt - < Dockerfile         to standard output";

/// Rewrites Dockerfiles in the usual form; the image that they make stays the same.
///
/// Keywords become upper case, flags are parted by one space, continued lines are indented by four, and one empty line
/// stands for several. Comments, line breaks, scripts, quoted strings and heredocs stay as they are. The names of files
/// that changed are printed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FmtArgs {
    /// Files, or folders with a Dockerfile; `-` is standard input, formatted to standard output
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) files: Vec<String>,
    /// Write nothing; print the names of files that would change and exit with 1 if there are any
    #[arg(long)]
    pub(crate) check: bool,
    /// Write nothing; print what would change
    #[arg(long)]
    pub(crate) diff: bool,
}
