//! `kiln history`.

use jiff::Timestamp;
use kiln_engine::Result;

use super::OK;
use crate::app::App;
use crate::args::image::HistoryArgs;
use crate::listing::Listing;
use crate::render::image;

pub(super) fn run(args: &HistoryArgs, app: &App) -> Result<u8> {
    let lines = app.engine()?.images().history(&args.image, args.platform.as_deref())?;
    let now = Timestamp::now();
    let rows = lines.iter().map(|line| image::history_row(line, now, args.output.no_trunc)).collect();
    let columns = vec![
        ("IMAGE", "ID"),
        ("CREATED", "CreatedSince"),
        ("CREATED BY", "CreatedBy"),
        ("SIZE", "Size"),
        ("COMMENT", "Comment"),
    ];
    Listing { columns, id: "ID", rows }.print(&args.output).map(|()| OK)
}
