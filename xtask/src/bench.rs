//! `cargo xtask bench`: the same work by kiln and by its peers, in one run, as ratios.
//!
//! Every state root is on one fresh loop-mounted ext4 with a journal: without one, ext4 scans past recently deleted
//! inodes and creating files becomes many times slower, whoever does it. Before the first run every free page of memory
//! is touched once: on a virtual machine the first use of a page waits for the host, which has nothing to do with whoever
//! happens to be measured at that moment.

mod work;

use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::field::{Field, Profile};
use crate::peers;

/// What to measure and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Only work whose name contains this
    #[arg(default_value = "")]
    only: String,
    /// Counted runs of each measurement
    #[arg(short = 'n', long, default_value_t = 5)]
    runs: usize,
    /// Leave the peers out
    #[arg(long)]
    alone: bool,
}

/// One line of the report: a piece of work, its goal and who took how much of what is measured.
struct Row {
    work: String,
    goal: f64,
    unit: Unit,
    figures: Vec<(String, Result<f64>)>,
}

/// What a figure counts.
#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Megabytes,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Unit::Milliseconds => format!("{figure:.2} ms"),
            Unit::Megabytes => format!("{figure:.1} MB"),
        }
    }
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let field = Field::new(root, Profile::Release)?;
    let peers = if options.alone { Vec::new() } else { peers::present(&field) };
    println!("state roots on {}", field.describe());
    for work in work::all().iter().filter(|w| w.name().contains(&options.only)) {
        print(&work.measure(&field, &peers, options.runs)?);
    }
    print_size(&field)?;
    Ok(())
}

fn print(row: &Row) {
    println!("\n{}  (goal {})", row.work, row.unit.show(row.goal));
    let ours = row.figures.first().and_then(|(_, figure)| figure.as_ref().ok()).copied();
    for (name, figure) in &row.figures {
        match (figure, ours) {
            (Ok(figure), Some(ours)) => {
                println!("  {name:24} {:>10}  {:6.2}x", row.unit.show(*figure), figure / ours);
            }
            (Ok(figure), None) => println!("  {name:24} {:>10}", row.unit.show(*figure)),
            (Err(error), _) => println!("  {name:24} not measured: {error:#}"),
        }
    }
}

fn print_size(field: &Field) -> Result<()> {
    let bytes = std::fs::metadata(field.kiln())?.len();
    println!("\nbinary, stripped           {:.1} MB  (goal 25 MB)", bytes as f64 / 1e6);
    Ok(())
}
