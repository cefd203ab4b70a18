//! `kiln load`.

use std::fs::File;

use kiln_engine::{Error, Result};

use super::OK;
use crate::app::App;
use crate::args::image::LoadArgs;
use crate::terminal;

pub(super) fn run(args: &LoadArgs, app: &App) -> Result<u8> {
    if args.input.is_none() && terminal::stdin_is_terminal() {
        return Err(
            Error::invalid("there is no archive on standard input").with_hint("give `-i FILE`, or pipe one")
        );
    }
    let engine = app.engine()?;
    let loaded = match &args.input {
        None => engine.images().load(std::io::stdin().lock())?,
        Some(file) => {
            let open = File::open(file);
            let open = open.map_err(|error| {
                Error::invalid(format!("cannot read `{}`", file.display())).caused_by(error)
            })?;
            engine.images().load(open)?
        }
    };
    for (names, id) in loaded.iter().filter(|_| !args.quiet) {
        if names.is_empty() {
            terminal::say(&format!("Loaded image ID: {id}"))?;
        }
        names.iter().try_for_each(|name| terminal::say(&format!("Loaded image: {}", name.familiar())))?;
    }
    Ok(OK)
}
