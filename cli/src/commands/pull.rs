//! `kiln pull`.

use kiln_engine::{Engine, Error, Result};

use crate::app::App;
use crate::args::image::PullArgs;

pub(super) fn run(_args: &PullArgs, _app: &App) -> Result<u8> {
    Err(Error::not_implemented("`pull`"))
}

pub(super) fn to_stderr(_engine: &Engine, _image: &str, _platform: Option<&str>) -> Result<()> {
    Err(Error::not_implemented("`pull`"))
}
