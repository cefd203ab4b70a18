//! `kiln container prune`.

use kiln_engine::{PruneReport, Result};

use super::OK;
use crate::app::App;
use crate::args::container::PruneArgs;
use crate::terminal;
use crate::values::time;

pub(super) fn run(args: &PruneArgs, app: &App) -> Result<u8> {
    if !terminal::agreed(args.force, "This removes every container that does not run.")? {
        return Ok(OK);
    }
    report("Deleted containers:", &app.engine()?.containers().prune()?)
}

/// What a prune removed, as Docker says it.
pub(super) fn report(title: &str, report: &PruneReport) -> Result<u8> {
    if !report.deleted.is_empty() {
        terminal::say(title)?;
        report.deleted.iter().try_for_each(|name| terminal::say(name))?;
        terminal::say("")?;
    }
    terminal::say(&format!("Total reclaimed space: {}", time::size(report.reclaimed))).map(|()| OK)
}
