//! `kiln tag`.

use kiln_engine::Result;

use super::OK;
use crate::app::App;
use crate::args::image::TagArgs;

pub(super) fn run(args: &TagArgs, app: &App) -> Result<u8> {
    app.engine()?.images().tag(&args.source, &args.target).map(|_| OK)
}
