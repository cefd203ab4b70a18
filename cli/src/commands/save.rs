//! `kiln save`.

use std::io::{BufWriter, Write, stdout};
use std::path::Path;

use kiln_engine::{Engine, Error, Result, WholeFile};

use super::{OK, pull};
use crate::app::App;
use crate::args::image::SaveArgs;
use crate::render::progress::{Counted, Transfers};
use crate::terminal;

pub(super) fn run(args: &SaveArgs, app: &App) -> Result<u8> {
    if args.output.is_none() && terminal::stdout_is_terminal() {
        return Err(
            Error::invalid("an archive is nothing for a terminal").with_hint("give `-o FILE`, or pipe it")
        );
    }
    let engine = app.engine()?;
    args.images.iter().try_for_each(|image| complete(&engine, image, args.platform.as_deref()))?;
    match &args.output {
        None => save(&engine, args, stdout().lock())?,
        Some(file) => to_file(&engine, args, file)?,
    }
    Ok(OK)
}

/// Fetches what is to be saved and still at a registry.
fn complete(engine: &Engine, image: &str, platform: Option<&str>) -> Result<()> {
    if platform.is_some() {
        return pull::complete(engine, image, platform);
    }
    let platforms = engine.images().inspect(image, None)?.summary.platforms;
    platforms.iter().try_for_each(|platform| pull::complete(engine, image, Some(&platform.to_string())))
}

fn save(engine: &Engine, args: &SaveArgs, out: impl Write) -> Result<()> {
    let progress = Transfers::start("Saving images", false);
    let name = args.output.as_ref().map_or("standard output".to_owned(), |file| file.display().to_string());
    let out = Counted::new(out, &progress, ("writing", name), None);
    let out = BufWriter::with_capacity(256 << 10, out);
    let saved = engine.images().save(&args.images, args.platform.as_deref(), out);
    progress.finish();
    saved
}

/// The archive appears whole or not at all.
fn to_file(engine: &Engine, args: &SaveArgs, file: &Path) -> Result<()> {
    let fail = |error| Error::invalid(format!("cannot write `{}`", file.display())).caused_by(error);
    let (whole, out) = WholeFile::create(file).map_err(fail)?;
    save(engine, args, out)?;
    whole.finish().map_err(fail)
}
