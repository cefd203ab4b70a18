//! `kiln start`.

use kiln_engine::attach::AttachOptions;
use kiln_engine::{Error, Result};

use super::{OK, code, each};
use crate::app::App;
use crate::args::container::StartArgs;
use crate::streams::{self, Connection, Ended};
use crate::terminal;

pub(super) fn run(args: &StartArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    if !args.attach && !args.interactive {
        return each(&args.containers, |name| engine.containers().start(name, None).map(drop));
    }
    let [name] = &args.containers[..] else {
        return Err(Error::invalid("`--attach` and `--interactive` take one container"));
    };
    let options = engine.containers().inspect(name)?.options;
    let connection = Connection {
        stdin: args.interactive && options.open_stdin,
        tty: options.tty,
        forward_signals: true,
        detach_keys: streams::detach_keys(&args.detach_keys)?,
    };
    let attach = AttachOptions {
        stdin: connection.stdin,
        output: true,
        logs: false,
        size: if options.tty { terminal::size() } else { None },
    };
    match engine.containers().start(name, Some(&attach))? {
        None => Ok(OK),
        Some(attached) => match streams::connect(attached, &connection)? {
            Ended::Exited(status) => Ok(code(status)),
            Ended::Detached => Ok(OK),
        },
    }
}
