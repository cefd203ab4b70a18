//! `kiln rmi`.

use kiln_engine::Result;
use kiln_engine::images::Removed;

use super::OK;
use crate::app::App;
use crate::args::image::RemoveArgs;
use crate::{report, terminal};

pub(super) fn run(args: &RemoveArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    let mut failed = None;
    for name in &args.images {
        match engine.images().remove(name, args.force) {
            Ok(removed) => removed.iter().try_for_each(|removed| terminal::say(&line(removed)))?,
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    report::print(&earlier);
                }
            }
        }
    }
    failed.map_or(Ok(OK), Err)
}

fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(name) => format!("Untagged: {}", name.familiar()),
        Removed::Deleted(id) => format!("Deleted: {id}"),
    }
}
