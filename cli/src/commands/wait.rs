//! `kiln wait`.

use kiln_engine::Result;

use super::OK;
use crate::app::App;
use crate::args::container::WaitArgs;
use crate::terminal;

pub(super) fn run(args: &WaitArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    for name in &args.containers {
        terminal::say(&engine.containers().wait(name)?.to_string())?;
    }
    Ok(OK)
}
