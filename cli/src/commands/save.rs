//! `kiln save`.

use std::fs::{self, File};
use std::io::{BufWriter, stdout};
use std::path::Path;

use kiln_engine::{Engine, Error, Result};

use super::{OK, pull};
use crate::app::App;
use crate::args::image::SaveArgs;
use crate::terminal;

pub(super) fn run(args: &SaveArgs, app: &App) -> Result<u8> {
    if args.output.is_none() && terminal::stdout_is_terminal() {
        return Err(
            Error::invalid("an archive is nothing for a terminal").with_hint("give `-o FILE`, or pipe it")
        );
    }
    let engine = app.engine()?;
    for image in &args.images {
        for platform in engine.images().inspect(image, None)?.summary.platforms {
            pull::complete(&engine, image, Some(&platform.to_string()))?;
        }
    }
    match &args.output {
        None => engine.images().save(&args.images, BufWriter::with_capacity(256 << 10, stdout().lock()))?,
        Some(file) => to_file(&engine, &args.images, file)?,
    }
    Ok(OK)
}

/// The archive appears whole or not at all.
fn to_file(engine: &Engine, images: &[String], file: &Path) -> Result<()> {
    let fail = |error| Error::invalid(format!("cannot write `{}`", file.display())).caused_by(error);
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = Path::new(&name);
    let out = File::create(part).map_err(fail)?;
    let saved = engine.images().save(images, BufWriter::with_capacity(256 << 10, out));
    let renamed = saved.and_then(|()| fs::rename(part, file).map_err(fail));
    if renamed.is_err() {
        let _ = fs::remove_file(part);
    }
    renamed
}
