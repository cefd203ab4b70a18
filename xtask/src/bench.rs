//! `cargo xtask bench`: the same work by kiln and by its peers, in one run, as ratios.
//!
//! Every state root is on one fresh loop-mounted ext4 with a journal: without one, ext4 scans past recently deleted
//! inodes and creating files becomes many times slower, whoever does it. Before the first run every free page of memory
//! is touched once: on a virtual machine the first use of a page waits for the host, which has nothing to do with whoever
//! happens to be measured at that moment.

mod build;
mod context;
mod cost;
mod figure;
mod files;
mod many;
mod node;
mod pull;
mod report;
mod run;
mod serve;
mod steps;

use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::field::{self, Field, Profile};
use crate::peers::{self, Peer};
use crate::registry::Registry;
use figure::Figure;
use report::{Row, Unit};

/// What to measure and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Only work whose name contains this
    #[arg(default_value = "")]
    only: String,
    /// Counted runs of each measurement; long ones are counted three times at most
    #[arg(short = 'n', long, default_value_t = 5)]
    runs: usize,
    /// Leave the peers out
    #[arg(long)]
    alone: bool,
    /// Leave the free memory alone, as others on this machine may want it
    #[arg(long)]
    shared: bool,
}

/// Where measuring happens.
struct Bench<'a> {
    field: &'a Field,
    /// Where images are pushed to; its data is on the same ground.
    registry: &'a Registry,
    /// The checkout.
    root: &'a Path,
    runs: usize,
}

/// Who is measured.
#[derive(Clone, Copy)]
enum Who<'a> {
    Kiln,
    Peer(&'a Peer),
}

impl Who<'_> {
    fn name(self) -> &'static str {
        match self {
            Who::Kiln => "kiln",
            Who::Peer(peer) => peer.kind.name(),
        }
    }
}

/// A piece of work: what it is, what is wanted, and how somebody does it. `None` is somebody who cannot.
struct Work {
    name: &'static str,
    goal: f64,
    unit: Unit,
    measure: fn(&Bench<'_>, Who<'_>) -> Option<Result<Figure>>,
}

impl Work {
    fn row(&self, bench: &Bench<'_>, peers: &[Peer]) -> Row {
        let everybody = std::iter::once(Who::Kiln).chain(peers.iter().map(Who::Peer));
        let figures = everybody.filter_map(|who| Some((who.name(), (self.measure)(bench, who)?)));
        Row { work: self.name, goal: self.goal, unit: self.unit, figures: figures.collect() }
    }
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let field = Field::new(root, Profile::Release)?;
    if !options.shared {
        field::touch_free_memory()?;
    }
    let registry = Registry::serve(&field.folder("registry")?)?;
    let peers = if options.alone { Vec::new() } else { peers::present(&field) };
    println!("state roots on {}; the best of the runs, the median in brackets", field.describe());
    let bench = Bench { field: &field, registry: &registry, root, runs: options.runs.max(1) };
    let all = [steps::WORK, files::WORK, node::WORK, many::WORK, run::WORK, pull::WORK, serve::WORK];
    for work in all.into_iter().flatten().filter(|work| work.name.contains(&options.only)) {
        work.row(&bench, &peers).print();
    }
    for cost in cost::ALL.iter().filter(|cost| cost.name.contains(&options.only)) {
        cost.print(&bench)?;
    }
    report::print_size(&field)
}
