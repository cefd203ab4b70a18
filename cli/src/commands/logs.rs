//! `kiln logs`.

use jiff::Timestamp;
use kiln_engine::attach::Stream;
use kiln_engine::logs::LogOptions;
use kiln_engine::{Error, Result};

use super::OK;
use crate::app::App;
use crate::args::container::LogsArgs;
use crate::terminal;
use crate::values::time;

pub(super) fn run(args: &LogsArgs, app: &App) -> Result<u8> {
    let now = Timestamp::now();
    let moment = |option: &str, text: &Option<String>| {
        text.as_ref().map(|text| time::moment(option, text, now)).transpose()
    };
    let options = LogOptions {
        follow: args.follow,
        tail: tail(&args.tail)?,
        since: moment("--since", &args.since)?,
        until: moment("--until", &args.until)?,
    };
    let engine = app.engine()?;
    for entry in engine.containers().logs(&args.container, &options)? {
        let entry = entry?;
        let to_stderr = entry.stream == Stream::Stderr;
        if args.timestamps {
            terminal::write_raw(to_stderr, format!("{} ", entry.time).as_bytes())?;
        }
        write(to_stderr, &entry.bytes)?;
    }
    Ok(OK)
}

/// A log that is read later must not steer the terminal that it is read on; piped, it is exact.
fn write(to_stderr: bool, bytes: &[u8]) -> Result<()> {
    let shown = if to_stderr { terminal::stderr_is_terminal() } else { terminal::stdout_is_terminal() };
    if !shown {
        return terminal::write_raw(to_stderr, bytes);
    }
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    terminal::write_raw(to_stderr, crate::text::neutral(&text).as_bytes())
}

fn tail(text: &str) -> Result<Option<usize>> {
    match text {
        "all" | "-1" => Ok(None),
        number => match number.parse() {
            Ok(lines) => Ok(Some(lines)),
            Err(_) => Err(Error::invalid(format!("`--tail {number}`: it is a number of lines, or `all`"))),
        },
    }
}
