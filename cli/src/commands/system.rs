//! `kiln system …`.

mod units;

use kiln_engine::usage::{PruneOptions, Usage};
use kiln_engine::{Error, Result};
use serde_json::{Value, json};

use super::{OK, container_prune, info};
use crate::app::App;
use crate::args::ListFormat;
use crate::args::system::{CheckArgs, DfArgs, Group, PruneArgs, ResetArgs};
use crate::listing::Listing;
use crate::terminal;
use crate::values::time;

pub(super) fn run(command: Group, app: &App) -> Result<u8> {
    match command {
        Group::Df(args) => df(&args, app),
        Group::Prune(args) => prune(&args, app),
        Group::Check(args) => check(&args, app),
        Group::Reset(args) => reset(&args, app),
        Group::Info(args) => info::run(&args, app),
        Group::Install(args) => units::install(&args, app),
        Group::Uninstall(args) => units::uninstall(&args),
    }
}

fn df(args: &DfArgs, app: &App) -> Result<u8> {
    let row = |usage: &Usage| -> Value {
        let percent = (usage.reclaimable * 100)
            .checked_div(usage.size)
            .map_or_else(String::new, |p| format!(" ({p}%)"));
        json!({
            "Type": usage.kind, "TotalCount": usage.total, "Active": usage.active, "Size": time::size(usage.size),
            "Reclaimable": format!("{}{percent}", time::size(usage.reclaimable)),
        })
    };
    let columns = vec![
        ("TYPE", "Type"),
        ("TOTAL", "TotalCount"),
        ("ACTIVE", "Active"),
        ("SIZE", "Size"),
        ("RECLAIMABLE", "Reclaimable"),
    ];
    let format = ListFormat { format: args.format.clone(), json: args.json, ..ListFormat::default() };
    let rows = app.engine()?.usage()?.iter().map(row).collect();
    Listing { columns, id: "Type", rows }.print(&format).map(|()| OK)
}

fn prune(args: &PruneArgs, app: &App) -> Result<u8> {
    let images = if args.all { "every image that no container uses" } else { "images without a name" };
    let volumes = if args.volumes { ", anonymous volumes that no container uses" } else { "" };
    let warning = format!("This removes stopped containers, {images}{volumes}, and the build cache.");
    if !terminal::agreed(args.force, &warning)? {
        return Ok(OK);
    }
    let report = app.engine()?.prune(PruneOptions { all: args.all, volumes: args.volumes })?;
    container_prune::report("Deleted:", &report)
}

fn check(args: &CheckArgs, app: &App) -> Result<u8> {
    let problems = app.engine()?.check(args.repair)?;
    if problems.is_empty() {
        return terminal::say("Everything is as it should be").map(|()| OK);
    }
    problems.iter().try_for_each(|problem| terminal::say(problem))?;
    if args.repair {
        return terminal::say("What was broken is removed; it is fetched or made again when it is needed")
            .map(|()| OK);
    }
    Err(Error::conflict(format!("{} things are broken", problems.len()))
        .with_hint("`kiln system check --repair` removes them"))
}

fn reset(args: &ResetArgs, app: &App) -> Result<u8> {
    let root = app.config()?.root;
    let warning = format!("This stops every container and removes everything in `{}`.", root.display());
    if !root.exists() || !terminal::agreed(args.force, &warning)? {
        return Ok(OK);
    }
    app.engine()?.reset().map(|()| OK)
}
