//! `kiln fmt`.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use kiln_engine::dockerfile::{self, MAX_SOURCE, SourceFile};
use kiln_engine::{Error, Result};

use super::{OK, all};
use crate::args::fmt::FmtArgs;
use crate::render::diff;
use crate::terminal;

/// The exit code of `--check` where something would change.
const WOULD_CHANGE: u8 = 1;

pub(super) fn run(args: &FmtArgs) -> Result<u8> {
    let mut code = OK;
    all(&args.files, |name| {
        if format(name, args)? && args.check {
            code = WOULD_CHANGE;
        }
        Ok(())
    })?;
    Ok(code)
}

/// Formats a file; whether it was not in the usual form.
fn format(name: &str, args: &FmtArgs) -> Result<bool> {
    let path = (name != "-").then(|| file(Path::new(name))).transpose()?;
    let source = path.as_deref().map_or_else(standard_input, dockerfile::read)?;
    let rewrites = dockerfile::format(&source)?;
    let changes = !rewrites.is_empty();
    match path {
        _ if args.diff && changes => {
            terminal::print(&diff::unified(source.name(), source.text(), &rewrites))?;
        }
        _ if args.check && changes => terminal::say(source.name())?,
        _ if args.diff || args.check => {}
        None => terminal::print(&dockerfile::apply(&source, &rewrites))?,
        Some(path) if changes => {
            dockerfile::replace(&path, &dockerfile::apply(&source, &rewrites))?;
            terminal::say(source.name())?;
        }
        Some(_) => {}
    }
    Ok(changes)
}

fn file(path: &Path) -> Result<PathBuf> {
    if path.is_dir() { dockerfile::find(path) } else { Ok(path.to_owned()) }
}

fn standard_input() -> Result<SourceFile> {
    let mut bytes = Vec::new();
    // One byte more than the parser takes, so that it says what is wrong.
    let read = io::stdin().lock().take(MAX_SOURCE as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::internal("read standard input", error))?;
    dockerfile::of_bytes("standard input".to_owned(), bytes)
}
