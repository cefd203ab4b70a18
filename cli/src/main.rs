//! The one binary: arguments to values, values to what is printed, errors to exit codes.
#![forbid(unsafe_code)]

mod app;
mod args;
mod commands;
mod credentials;
mod listing;
mod render;
mod report;
mod streams;
mod template;
mod terminal;
mod text;
mod values;

use std::process::ExitCode;

use kiln_engine::Result;
use kiln_engine::errand::Errand;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::app::App;
use crate::args::{Cli, Command};

fn main() -> ExitCode {
    if let Some(errand) = Errand::of_this_process() {
        return done(errand.run().map(commands::code), 1);
    }
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error),
    };
    start_tracing(cli.global.debug, matches!(cli.command, Command::Serve(_)));
    let failure_code = report::failure_code(&cli.command);
    done(commands::run(cli.command, &App::new(cli.global)), failure_code)
}

/// How the process ends; `otherwise` is the code of a failure that has none of its own.
fn done(result: Result<u8>, otherwise: u8) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report::print(&error);
            ExitCode::from(report::exit_code(error.kind, otherwise))
        }
    }
}

/// Nothing is traced unless somebody asks, with `--debug` or `KILN_LOG`; a daemon says who has it do what.
fn start_tracing(debug: bool, is_daemon: bool) {
    let filter = match std::env::var("KILN_LOG") {
        Ok(filter) => filter,
        Err(_) if debug => "debug".to_owned(),
        Err(_) if is_daemon => "info".to_owned(),
        Err(_) => return,
    };
    // What cannot be read is as good as nothing said.
    let targets: Targets = filter.parse().unwrap_or_default();
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(to_stderr).with(targets).init();
}

impl Command {
    /// Whether Docker keeps small exit codes of this command for the program of a container.
    fn runs_a_program(&self) -> bool {
        use args::container::Group;
        use args::lazy::Lazy;
        match self {
            Command::Run(_) | Command::Create(_) => true,
            Command::Container(Lazy(group)) => matches!(group.command, Group::Run(_) | Group::Create(_)),
            _ => false,
        }
    }
}
