//! `kiln push`.

use kiln_engine::{Error, Result};

use crate::app::App;
use crate::args::image::PushArgs;

pub(super) fn run(_args: &PushArgs, _app: &App) -> Result<u8> {
    Err(Error::not_implemented("`push`"))
}
