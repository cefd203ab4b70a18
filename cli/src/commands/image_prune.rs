//! `kiln image prune`.

use kiln_engine::Result;

use super::{OK, container_prune};
use crate::app::App;
use crate::args::image::PruneArgs;
use crate::terminal;

pub(super) fn run(args: &PruneArgs, app: &App) -> Result<u8> {
    let what = if args.all {
        "This removes every image that no container uses."
    } else {
        "This removes images without a name."
    };
    if !terminal::agreed(args.force, what)? {
        return Ok(OK);
    }
    container_prune::report("Deleted images:", &app.engine()?.images().prune(args.all)?)
}
