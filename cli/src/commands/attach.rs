//! `kiln attach`.

use kiln_engine::Result;
use kiln_engine::attach::AttachOptions;

use super::{OK, code};
use crate::app::App;
use crate::args::container::AttachArgs;
use crate::streams::{self, Connection, Ended};
use crate::terminal;

pub(super) fn run(args: &AttachArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    let options = engine.containers().inspect(&args.container)?.options;
    let connection = Connection {
        stdin: !args.no_stdin && options.open_stdin,
        tty: options.tty,
        forward_signals: args.sig_proxy,
        detach_keys: streams::detach_keys(&args.detach_keys)?,
    };
    let attach = AttachOptions {
        stdin: connection.stdin,
        output: true,
        logs: false,
        size: if options.tty { terminal::size() } else { None },
    };
    let attached = engine.containers().attach(&args.container, &attach)?;
    match streams::connect(attached, &connection)? {
        Ended::Exited(status) => Ok(code(status)),
        Ended::Detached => Ok(OK),
    }
}
