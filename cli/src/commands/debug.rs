//! `kiln debug …`.

use kiln_engine::{Error, Result};

use crate::app::App;
use crate::args::debug::Group;

pub(super) fn run(_command: Group, _app: &App) -> Result<u8> {
    Err(Error::not_implemented("`debug`"))
}
