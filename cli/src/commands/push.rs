//! `kiln push`.

use std::sync::Arc;

use kiln_engine::Result;
use kiln_engine::progress::Reporter;

use super::OK;
use crate::app::{App, block_on};
use crate::args::image::PushArgs;
use crate::render::progress::Transfers;
use crate::terminal;

pub(super) fn run(args: &PushArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    for image in &args.images {
        let progress = Arc::new(Transfers::start(args.quiet));
        let reporter: Arc<dyn Reporter> = progress.clone();
        let result = block_on(engine.images().push(image, &reporter));
        progress.finish();
        let pushed = result?;
        let text = match args.quiet {
            true => pushed.reference.to_string(),
            false => format!("Pushed: {} ({})", pushed.reference.familiar(), pushed.digest),
        };
        terminal::say(&text)?;
    }
    Ok(OK)
}
