//! `kiln load`.

use std::fs::{File, Metadata};
use std::path::Path;

use kiln_engine::oci::{Digest, Reference};
use kiln_engine::{Engine, Error, Result};

use super::OK;
use crate::app::App;
use crate::args::image::LoadArgs;
use crate::render::progress::{Counted, Transfers};
use crate::terminal;

pub(super) fn run(args: &LoadArgs, app: &App) -> Result<u8> {
    if args.input.is_none() && terminal::stdin_is_terminal() {
        return Err(
            Error::invalid("there is no archive on standard input").with_hint("give `-i FILE`, or pipe one")
        );
    }
    let engine = app.engine()?;
    let progress = Transfers::start("Loading images", args.quiet);
    let loaded = load(&engine, args.input.as_deref(), &progress);
    progress.finish();
    let loaded = loaded?;
    for (names, id) in loaded.iter().filter(|_| !args.quiet) {
        if names.is_empty() {
            terminal::say(&format!("Loaded image ID: {id}"))?;
        }
        names.iter().try_for_each(|name| terminal::say(&format!("Loaded image: {}", name.familiar())))?;
    }
    Ok(OK)
}

/// Loads an archive that is a file, or comes on standard input.
fn load(engine: &Engine, file: Option<&Path>, progress: &Transfers) -> Result<Vec<(Vec<Reference>, Digest)>> {
    let Some(file) = file else {
        let name = ("reading", "standard input".to_owned());
        return engine.images().load(Counted::new(std::io::stdin().lock(), progress, name, None));
    };
    let fail = |error| Error::invalid(format!("cannot read `{}`", file.display())).caused_by(error);
    let open = File::open(file).map_err(fail)?;
    let length = open.metadata().ok().filter(Metadata::is_file).map(|metadata| metadata.len());
    let name = ("reading", file.display().to_string());
    engine.images().load(Counted::new(open, progress, name, length))
}
