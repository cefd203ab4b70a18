//! `kiln run`.

use kiln_engine::attach::AttachOptions;
use kiln_engine::containers::{RemoveOptions, Standby};
use kiln_engine::{Engine, Error, Result};

use super::{OK, code, create};
use crate::app::App;
use crate::args::create::RunArgs;
use crate::streams::{self, Connection, Ended};
use crate::terminal;

pub(super) fn run(args: &RunArgs, app: &App) -> Result<u8> {
    let connection = Connection {
        stdin: args.container.interactive,
        tty: args.container.tty,
        forward_signals: args.sig_proxy,
        detach_keys: streams::detach_keys(&args.detach_keys)?,
    };
    let standby = Standby::start(&app.config()?.root)?;
    let engine = app.engine()?;
    let id = create::create(&engine, &args.container, |options| {
        engine.containers().create_for(&standby, options).map(|()| standby.id().to_owned())
    })?;
    let attach = (!args.detach).then(|| AttachOptions {
        stdin: connection.stdin,
        output: true,
        logs: false,
        size: if connection.tty { terminal::size() } else { None },
    });
    let attached = match engine.containers().start_on(standby, attach.as_ref()) {
        Ok(attached) => attached,
        Err(error) => return Err(not_started(&engine, &id, args, error)),
    };
    match attached {
        None => terminal::say(&id).map(|()| OK),
        Some(attached) => match streams::connect(attached, &connection)? {
            Ended::Exited(status) => Ok(code(status)),
            Ended::Detached => Ok(OK),
        },
    }
}

/// A container with `--rm` that did not start is of no use to anybody.
fn not_started(engine: &Engine, id: &str, args: &RunArgs, error: Error) -> Error {
    if args.container.rm {
        let _ = engine.containers().remove(id, RemoveOptions { force: true, volumes: true });
    }
    error
}
