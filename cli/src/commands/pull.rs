//! `kiln pull`.

use kiln_engine::images::Pulled;
use kiln_engine::{Engine, Result};

use super::OK;
use crate::app::{App, block_on};
use crate::args::image::PullArgs;
use crate::render::progress::Transfers;
use crate::terminal;
use crate::values::platform;

pub(super) fn run(args: &PullArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    let platform = platform::or_default(args.platform.as_deref());
    for image in &args.images {
        let pulled = fetch(&engine, image, platform.as_deref(), args.quiet)?;
        if args.quiet {
            terminal::say(&pulled.reference.to_string())?;
            continue;
        }
        let what = if pulled.changed { "Downloaded" } else { "Up to date" };
        terminal::say(&format!("{what}: {} ({})", pulled.reference.familiar(), pulled.digest))?;
    }
    Ok(OK)
}

/// A pull for a command whose standard output is somebody else's.
pub(super) fn to_stderr(engine: &Engine, image: &str, platform: Option<&str>) -> Result<()> {
    fetch(engine, image, platform, false).map(drop)
}

fn fetch(engine: &Engine, image: &str, platform: Option<&str>, quiet: bool) -> Result<Pulled> {
    let progress = Transfers::start(&format!("Pulling {image}"), quiet);
    let result = block_on(engine.images().pull(image, platform, &progress));
    progress.finish();
    result
}

/// Fetches what an image that is here still lacks: layers that its build did not need.
pub(super) fn complete(engine: &Engine, image: &str, platform: Option<&str>) -> Result<()> {
    if engine.images().is_complete(image, platform)? {
        return Ok(());
    }
    let progress = Transfers::start(&format!("Pulling the rest of {image}"), false);
    let result = block_on(engine.images().complete(image, platform, &progress));
    progress.finish();
    result
}
