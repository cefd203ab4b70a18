//! `kiln lsp`.

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  kiln lsp                        what an editor runs; `docs/editors.md` says how to set it up";

/// Answers an editor about Dockerfiles: the Language Server Protocol on standard input and output.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LspArgs {
    /// Talk on standard input and output, which is the only way and need not be said
    #[arg(long)]
    pub(crate) stdio: bool,
}
