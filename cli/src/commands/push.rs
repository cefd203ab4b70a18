//! `kiln push`.

use std::io::Write as _;
use std::sync::Arc;

use kiln_engine::images::PushedImage;
use kiln_engine::progress::Reporter;
use kiln_engine::{Engine, Result};

use super::OK;
use crate::app::{App, block_on};
use crate::args::image::PushArgs;
use crate::render::progress::Transfers;
use crate::{terminal, text};

pub(super) fn run(args: &PushArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    for image in &args.images {
        let pushed = send(&engine, image, args.platform.as_deref(), args.quiet)?;
        if args.quiet {
            terminal::say(&pushed.reference.to_string())?;
        }
    }
    Ok(OK)
}

/// Pushes one image, and tells of it unless it is to be quiet.
pub(super) fn send(engine: &Engine, image: &str, platform: Option<&str>, quiet: bool) -> Result<PushedImage> {
    let progress = Arc::new(Transfers::start(&format!("Pushing {image}"), quiet));
    let reporter: Arc<dyn Reporter> = progress.clone();
    let result = block_on(engine.images().push(image, platform, &reporter));
    progress.finish();
    let pushed = result?;
    if quiet {
        return Ok(pushed);
    }
    if !pushed.left_out.is_empty() {
        note_left_out(image, &pushed);
    }
    terminal::say(&format!("Pushed: {} ({})", pushed.reference.familiar(), pushed.digest))?;
    Ok(pushed)
}

/// What others get is less than what the name means here.
fn note_left_out(image: &str, pushed: &PushedImage) {
    let list: Vec<String> = pushed.left_out.iter().map(ToString::to_string).collect();
    let line = format!("Note: images that are not here were left out of `{image}`: {}\n", list.join(", "));
    let _ = std::io::stderr().write_all(text::neutral(&line).as_bytes());
}
