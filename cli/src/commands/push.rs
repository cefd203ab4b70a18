//! `kiln push`.

use std::io::Write as _;
use std::sync::Arc;

use kiln_engine::Result;
use kiln_engine::images::PushedImage;
use kiln_engine::progress::Reporter;

use super::OK;
use crate::app::{App, block_on};
use crate::args::image::PushArgs;
use crate::render::progress::Transfers;
use crate::{terminal, text};

pub(super) fn run(args: &PushArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    for image in &args.images {
        let progress = Arc::new(Transfers::start(args.quiet));
        let reporter: Arc<dyn Reporter> = progress.clone();
        let result = block_on(engine.images().push(image, args.platform.as_deref(), &reporter));
        progress.finish();
        let pushed = result?;
        if !args.quiet && !pushed.left_out.is_empty() {
            note_left_out(image, &pushed);
        }
        let said = match args.quiet {
            true => pushed.reference.to_string(),
            false => format!("Pushed: {} ({})", pushed.reference.familiar(), pushed.digest),
        };
        terminal::say(&said)?;
    }
    Ok(OK)
}

/// What others get is less than what the name means here.
fn note_left_out(image: &str, pushed: &PushedImage) {
    let list: Vec<String> = pushed.left_out.iter().map(ToString::to_string).collect();
    let line = format!("Note: images that are not here were left out of `{image}`: {}\n", list.join(", "));
    let _ = std::io::stderr().write_all(text::neutral(&line).as_bytes());
}
