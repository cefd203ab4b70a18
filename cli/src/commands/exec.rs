//! `kiln exec`.

use kiln_engine::Result;
use kiln_engine::exec::ExecOptions;

use super::{OK, code};
use crate::app::App;
use crate::args::container::ExecArgs;
use crate::streams::{self, Connection, Ended};
use crate::terminal;
use crate::values::assignment;

pub(super) fn run(args: &ExecArgs, app: &App) -> Result<u8> {
    let (container, command) = args.container_and_command.split_first().expect("the arguments require two");
    let connection = Connection {
        stdin: args.interactive,
        tty: args.tty,
        // A terminal turns keys into signals itself; without one Docker leaves an exec alone, and so it can outlive us.
        forward_signals: false,
        detach_keys: streams::detach_keys(&args.detach_keys)?,
    };
    let options = ExecOptions {
        command: command.to_vec(),
        env: assignment::environment(&args.env_files, &args.env)?,
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        tty: args.tty,
        open_stdin: args.interactive,
        privileged: args.privileged,
        detach: args.detach,
        size: if args.tty { terminal::size() } else { None },
    };
    match app.engine()?.containers().exec(container, &options)? {
        None => Ok(OK),
        Some(attached) => match streams::connect(attached, &connection)? {
            Ended::Exited(status) => Ok(code(status)),
            Ended::Detached => Ok(OK),
        },
    }
}
