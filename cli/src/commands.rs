//! The commands, one file each.

mod attach;
mod build;
mod buildctl;
mod buildkitd;
mod call;
mod container_prune;
mod cp;
mod create;
mod debug;
mod exec;
mod fmt;
mod history;
mod image_prune;
mod images;
mod import;
mod info;
mod inspect;
mod interruption;
mod load;
mod login;
mod logs;
mod lsp;
mod network;
mod port;
mod ps;
mod pull;
mod push;
mod rebase;
mod rmi;
mod run;
mod save;
mod serve;
mod signals;
mod start;
mod system;
mod tag;
mod top;
mod verify;
mod version;
mod volume;
mod wait;

use kiln_engine::{Error, Result};

use crate::app::App;
use crate::args::lazy::Lazy;
use crate::args::{Cli, Command, container, image};
use crate::terminal;

/// The exit code of a command that did what it was asked to.
const OK: u8 = 0;

/// Runs a command; its exit code.
pub(crate) fn run(command: Command, app: &App) -> Result<u8> {
    use container::Group as C;
    match command {
        Command::Build(Lazy(args)) => build::run(&args, app),
        Command::Container(Lazy(args)) => container(args.command, app),
        Command::Image(Lazy(args)) => image(args.command, app),
        Command::Run(Lazy(args)) => container(C::Run(args), app),
        Command::Create(Lazy(args)) => container(C::Create(args), app),
        Command::Start(Lazy(args)) => container(C::Start(args), app),
        Command::Stop(Lazy(args)) => container(C::Stop(args), app),
        Command::Restart(Lazy(args)) => container(C::Restart(args), app),
        Command::Kill(Lazy(args)) => container(C::Kill(args), app),
        Command::Rm(Lazy(args)) => container(C::Rm(args), app),
        Command::Ps(Lazy(args)) => container(C::Ls(args), app),
        Command::Logs(Lazy(args)) => container(C::Logs(args), app),
        Command::Exec(Lazy(args)) => container(C::Exec(args), app),
        Command::Cp(Lazy(args)) => container(C::Cp(args), app),
        Command::Attach(Lazy(args)) => container(C::Attach(args), app),
        Command::Wait(Lazy(args)) => container(C::Wait(args), app),
        Command::Rename(Lazy(args)) => container(C::Rename(args), app),
        Command::Top(Lazy(args)) => container(C::Top(args), app),
        Command::Pause(Lazy(args)) => container(C::Pause(args), app),
        Command::Unpause(Lazy(args)) => container(C::Unpause(args), app),
        Command::Port(Lazy(args)) => container(C::Port(args), app),
        Command::Inspect(Lazy(args)) => inspect::run(&args, None, app),
        Command::Images(Lazy(args)) => image(image::Group::Ls(args), app),
        Command::Pull(Lazy(args)) => image(image::Group::Pull(args), app),
        Command::Push(Lazy(args)) => image(image::Group::Push(args), app),
        Command::Tag(Lazy(args)) => image(image::Group::Tag(args), app),
        Command::Rmi(Lazy(args)) => image(image::Group::Rm(args), app),
        Command::Save(Lazy(args)) => image(image::Group::Save(args), app),
        Command::Load(Lazy(args)) => image(image::Group::Load(args), app),
        Command::Import(Lazy(args)) => image(image::Group::Import(args), app),
        Command::Rebase(Lazy(args)) => image(image::Group::Rebase(args), app),
        Command::History(Lazy(args)) => image(image::Group::History(args), app),
        Command::Login(Lazy(args)) => login::login(&args, app),
        Command::Logout(Lazy(args)) => login::logout(&args),
        Command::Volume(Lazy(args)) => volume::run(args.command, app),
        Command::Network(Lazy(args)) => network::run(args.command, app),
        Command::System(Lazy(args)) => system::run(args.command, app),
        Command::Serve(Lazy(args)) => serve::run(args, app),
        Command::Buildkitd(Lazy(args)) => buildkitd::run(&args, app),
        Command::Buildctl(Lazy(args)) => buildctl::run(&args),
        Command::Info(Lazy(args)) => info::run(&args, app),
        Command::Version(Lazy(args)) => version::run(&args),
        Command::Fmt(Lazy(args)) => fmt::run(&args),
        Command::Lsp(Lazy(_)) => lsp::run(),
        Command::Debug(Lazy(args)) => debug::run(args.command, app),
        Command::Completion(Lazy(args)) => completion(args.shell),
        Command::Init(Lazy(args)) => kiln_engine::supervisor::init(&args.command).map(code),
    }
}

fn container(command: container::Group, app: &App) -> Result<u8> {
    use container::Group as C;
    match command {
        C::Run(args) => run::run(&args, app),
        C::Create(args) => create::run(&args, app),
        C::Start(args) => start::run(&args, app),
        C::Stop(args) => signals::stop(&args, app),
        C::Restart(args) => signals::restart(&args, app),
        C::Kill(args) => signals::kill(&args, app),
        C::Pause(args) => signals::pause(&args, app),
        C::Unpause(args) => signals::unpause(&args, app),
        C::Rm(args) => signals::rm(&args, app),
        C::Rename(args) => signals::rename(&args, app),
        C::Ls(args) => ps::run(&args, app),
        C::Logs(args) => logs::run(&args, app),
        C::Exec(args) => exec::run(&args, app),
        C::Cp(args) => cp::run(&args, app),
        C::Attach(args) => attach::run(&args, app),
        C::Wait(args) => wait::run(&args, app),
        C::Top(args) => top::run(&args, app),
        C::Port(args) => port::run(&args, app),
        C::Prune(args) => container_prune::run(&args, app),
        C::Inspect(args) => inspect::run(&args, Some("container"), app),
    }
}

fn image(command: image::Group, app: &App) -> Result<u8> {
    use image::Group as I;
    match command {
        I::Build(args) => build::run(&args, app),
        I::Ls(args) => images::run(&args, app),
        I::Pull(args) => pull::run(&args, app),
        I::Push(args) => push::run(&args, app),
        I::Tag(args) => tag::run(&args, app),
        I::Rm(args) => rmi::run(&args, app),
        I::Save(args) => save::run(&args, app),
        I::Load(args) => load::run(&args, app),
        I::Import(args) => import::run(&args, app),
        I::Rebase(args) => rebase::run(&args, app),
        I::History(args) => history::run(&args, app),
        I::Prune(args) => image_prune::run(&args, app),
        I::Inspect(args) => inspect::run(&args, Some("image"), app),
    }
}

fn completion(shell: clap_complete::Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "kiln", &mut script);
    terminal::write_raw(false, &script).map(|()| OK)
}

/// A process's code as ours.
pub(crate) fn code(code: i32) -> u8 {
    (code & 0xff) as u8
}

/// Does the same to each of `names` and prints the name; goes on after a failure, which is the command's result.
fn each(names: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<u8> {
    all(names, |name| act(name).and_then(|()| terminal::say(name))).map(|()| OK)
}

/// Does the same to each of `names`; goes on after a failure, which is the result.
fn all(names: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut failed: Option<Error> = None;
    for name in names {
        if let Err(error) = act(name)
            && let Some(earlier) = failed.replace(error)
        {
            crate::report::print(&earlier);
        }
    }
    failed.map_or(Ok(()), Err)
}
