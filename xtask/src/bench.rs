//! `cargo xtask bench`: the same work by kiln and by its peers, in one run, as ratios.
//!
//! Every state root is on one fresh loop-mounted ext4 with a journal: without one, ext4 scans past recently deleted
//! inodes and creating files becomes many times slower, whoever does it.

mod field;
mod peers;
mod work;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use field::Field;

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

/// One line of the report: a piece of work, its goal and who took how long.
struct Row {
    work: String,
    goal: Option<Duration>,
    times: Vec<(String, Result<Duration>)>,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let field = Field::new(root)?;
    let peers = if options.alone { Vec::new() } else { peers::present(&field) };
    println!("state roots on {}", field.describe());
    for work in work::all().iter().filter(|w| w.name().contains(&options.only)) {
        print(&work.measure(&field, &peers, options.runs)?);
    }
    print_size(&field)?;
    Ok(())
}

fn print(row: &Row) {
    let goal = row.goal.map_or(String::new(), |g| format!("  (goal {})", millis(g)));
    println!("\n{}{goal}", row.work);
    let ours = row.times.first().and_then(|(_, time)| time.as_ref().ok()).copied();
    for (name, time) in &row.times {
        match (time, ours) {
            (Ok(time), Some(ours)) => {
                println!(
                    "  {name:24} {:>10}  {:6.2}x",
                    millis(*time),
                    time.as_secs_f64() / ours.as_secs_f64()
                );
            }
            (Ok(time), None) => println!("  {name:24} {:>10}", millis(*time)),
            (Err(error), _) => println!("  {name:24} not measured: {error:#}"),
        }
    }
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn print_size(field: &Field) -> Result<()> {
    let bytes = std::fs::metadata(field.kiln())?.len();
    println!("\nbinary, stripped           {:.1} MB  (goal 25 MB)", bytes as f64 / 1e6);
    Ok(())
}
