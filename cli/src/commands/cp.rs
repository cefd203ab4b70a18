//! `kiln cp`.

use std::io::{BufWriter, Write as _, stdin, stdout};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kiln_engine::containers::files::{CopyOptions, Files, WriteOptions};
use kiln_engine::{Error, Result};

use super::OK;
use crate::app::App;
use crate::args::container::CpArgs;
use crate::terminal;
use crate::values::time::size;

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side<'a> {
    /// A container and the path in it.
    Container(&'a str, &'a str),
    /// A path on this machine.
    Host(&'a str),
    /// A tar on standard input or output.
    Stream,
}

pub(super) fn run(args: &CpArgs, app: &App) -> Result<u8> {
    let options = CopyOptions { follow: args.follow_link, archive: args.archive };
    let bytes = match (side(&args.source), side(&args.target)) {
        (Side::Container(..), Side::Container(..)) => {
            return Err(Error::invalid("copying between containers is not supported"));
        }
        (Side::Container(name, path), target) => {
            out(&app.engine()?.containers().files(name)?, path, &target, options)?
        }
        (source, Side::Container(name, path)) => {
            into(&app.engine()?.containers().files(name)?, &source, path, options)?
        }
        _ => {
            return Err(Error::invalid("neither the source nor the target is in a container")
                .with_hint("write `CONTAINER:PATH` for the one that is"));
        }
    };
    if let Some(bytes) = bytes.filter(|_| !args.quiet) {
        let line = format!("Successfully copied {} to {}\n", size(bytes), args.target);
        terminal::write_raw(true, line.as_bytes())?;
    }
    Ok(OK)
}

/// Copies out of a container; how much, where that is to be told.
fn out(files: &Files, path: &str, target: &Side<'_>, options: CopyOptions) -> Result<Option<u64>> {
    let Side::Host(target) = target else {
        if terminal::stdout_is_terminal() {
            return Err(
                Error::invalid("a tar is nothing for a terminal").with_hint("give a path, or pipe it")
            );
        }
        let mut out = BufWriter::with_capacity(256 << 10, stdout().lock());
        match options.follow {
            true => files.read_following(path, &mut out)?,
            false => files.read(path, &mut out)?,
        }
        let written = out.flush().map_err(|error| Error::internal("write to standard output", error));
        return written.map(|()| None);
    };
    files.copy_out(path, &absolute(target)?, own_ids()?, options).map(Some)
}

/// Copies into a container; how much, where that is to be told.
fn into(files: &Files, source: &Side<'_>, path: &str, options: CopyOptions) -> Result<Option<u64>> {
    match source {
        Side::Host(source) => files.copy_in(&absolute(source)?, path, options).map(Some),
        _ => {
            let write = WriteOptions { keep_kinds: true, as_container_user: options.archive };
            files.write(path, stdin().lock(), write).map(|()| None)
        }
    }
}

/// What a word means: a path that begins with `/` or `.` is one of this machine, whatever comes after.
fn side(word: &str) -> Side<'_> {
    match word.split_once(':') {
        _ if word == "-" => Side::Stream,
        Some((container, path)) if !container.is_empty() && !word.starts_with(['/', '.']) => {
            Side::Container(container, path)
        }
        _ => Side::Host(word),
    }
}

/// The path from the root. What its end says, a slash or a dot, stays.
fn absolute(path: &str) -> Result<PathBuf> {
    let here =
        std::env::current_dir().map_err(|error| Error::internal("find the working directory", error))?;
    let whole = here.join(path);
    Ok(if path == "." { Path::new(&format!("{}/.", here.display())).to_owned() } else { whole })
}

/// Who runs this command: whom the files that it makes belong to.
fn own_ids() -> Result<(u32, u32)> {
    let own = std::fs::metadata("/proc/self").map_err(|error| Error::internal("find the own user", error))?;
    Ok((own.uid(), own.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_paths_or_places_in_containers() {
        assert_eq!(side("web:/etc"), Side::Container("web", "/etc"));
        assert_eq!(side("web:a:b"), Side::Container("web", "a:b"));
        for host in ["/a:b", "./a:b", "a", ":a"] {
            assert_eq!(side(host), Side::Host(host));
        }
        assert_eq!(side("-"), Side::Stream);
    }
}
