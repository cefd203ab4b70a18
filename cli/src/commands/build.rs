//! `kiln build`.

use kiln_engine::{Error, Result};

use crate::app::App;
use crate::args::build::BuildArgs;

pub(super) fn run(_args: &BuildArgs, _app: &App) -> Result<u8> {
    Err(Error::not_implemented("`build`"))
}
