//! `kiln import`.

use std::fs::File;
use std::path::Path;

use kiln_engine::images::ImportOptions;
use kiln_engine::{Error, Result};

use super::OK;
use crate::app::App;
use crate::args::image::ImportArgs;
use crate::terminal;

pub(super) fn run(args: &ImportArgs, app: &App) -> Result<u8> {
    let options = ImportOptions {
        name: args.name.clone(),
        changes: args.changes.clone(),
        message: args.message.clone(),
        platform: args.platform.clone(),
    };
    let file = &args.file;
    let text = file.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(Error::not_implemented(format!("importing from a URL, as `{text}`,")));
    }
    let engine = app.engine()?;
    let id = if file == Path::new("-") {
        engine.images().import(std::io::stdin().lock(), &options)?
    } else {
        let open = File::open(file);
        let open = open.map_err(|error| Error::invalid(format!("cannot read `{text}`")).caused_by(error))?;
        engine.images().import(open, &options)?
    };
    terminal::say(id.as_str()).map(|()| OK)
}
