//! `kiln top`.

use kiln_engine::Result;

use super::OK;
use crate::app::App;
use crate::args::container::TopArgs;
use crate::{listing, terminal};

pub(super) fn run(args: &TopArgs, app: &App) -> Result<u8> {
    let processes = app.engine()?.containers().top(&args.container)?;
    let rows = std::iter::once(processes.titles).chain(processes.rows).collect();
    terminal::print(&listing::table(rows)).map(|()| OK)
}
