//! The small process that is a container's parent: terminal, log, exit, restart.

use crate::config::Config;
use crate::{Error, Result};

/// What the hidden command `kiln supervise ID` does: runs one container until it ends for good, then gives the exit
/// code of the supervisor itself.
pub fn supervise(config: Config, id: &str) -> Result<i32> {
    let _ = (config, id);
    Err(Error::not_implemented("`supervise`"))
}

/// What the hidden command `kiln init -- PROGRAM ARG…` does: process 1 of a container made with `--init`.
pub fn init(command: &[std::ffi::OsString]) -> Result<i32> {
    let _ = command;
    Err(Error::not_implemented("`init`"))
}
