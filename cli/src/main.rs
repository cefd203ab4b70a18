//! The one binary: arguments to values, values to what is printed, errors to exit codes.
#![forbid(unsafe_code)]

mod app;
mod args;
mod commands;
mod credentials;
mod listing;
mod logs;
mod render;
mod report;
mod rootless;
mod streams;
mod template;
mod terminal;
mod text;
mod values;

use std::process::ExitCode;

use kiln_engine::Result;
use kiln_engine::errand::Errand;

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
    if !cli.command.is_daemon() {
        // Nothing is told unless somebody asks for it.
        logs::start(cli.global.debug.then_some("debug"), logs::Format::Text);
    }
    let failure_code = report::failure_code(&cli.command);
    let is_rootless = match cli.command.works_with_images() {
        true => rootless::enter(),
        false => Ok(false),
    };
    done(is_rootless.and_then(|is| commands::run(cli.command, &App::new(cli.global, is))), failure_code)
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

impl Command {
    /// Whether it says itself what it does, once it knows how.
    fn is_daemon(&self) -> bool {
        matches!(self, Command::Serve(_) | Command::Buildkitd(_))
    }

    /// Whether it needs the rights of root, of the machine or of a user namespace.
    fn works_with_images(&self) -> bool {
        !matches!(
            self,
            Command::Buildctl(_)
                | Command::Version(_)
                | Command::Fmt(_)
                | Command::Lsp(_)
                | Command::Completion(_)
                | Command::Login(_)
                | Command::Logout(_)
                | Command::Init(_)
        )
    }

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
