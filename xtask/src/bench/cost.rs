//! Cost against work: whether time grows with the work alone, and memory not even with that.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use super::figure::{Used, millis, watched};
use super::steps::dockerfile;
use super::{Bench, Who};
use crate::field::settle;

/// What a build may have in memory, in bytes.
const MOST_MEMORY: u64 = 64 << 20;
/// Measurements of each, of which the fastest counts.
const RUNS: usize = 2;

/// A kind of work that there can be more of.
pub(super) struct Cost {
    pub(super) name: &'static str,
    /// What there is more of.
    unit: &'static str,
    sizes: [usize; 3],
    /// A context with so much of it; the number of the run makes it new.
    context: fn(&Bench<'_>, usize, usize) -> Result<PathBuf>,
}

pub(super) const ALL: &[Cost] = &[
    Cost { name: "cost: files of a COPY", unit: "files", sizes: [1_000, 10_000, 100_000], context: files },
    Cost {
        name: "cost: stages, each with a RUN and a COPY --from",
        unit: "stages",
        sizes: [1, 10, 100],
        context: stages,
    },
    Cost { name: "cost: layers, each a RUN", unit: "layers", sizes: [10, 100, 500], context: layers },
];

impl Cost {
    /// Measures and prints a table.
    pub(super) fn print(&self, bench: &Bench<'_>) -> Result<()> {
        Who::Kiln.have(bench.field, "busybox")?;
        println!("\n{}  (goal: linear, below {} MB)", self.name, MOST_MEMORY / 1_000_000);
        println!(
            "  {:>8} {:>12} {:>12} {:>9} {:>12} {:>9}",
            self.unit, "first", "for each", "memory", "again", "memory"
        );
        for size in self.sizes {
            match self.measure(bench, size) {
                Ok((first, again)) => println!(
                    "  {size:>8} {:>9.1} ms {:>9.3} ms {:>6.1} MB {:>9.1} ms {:>6.1} MB",
                    millis(first.time),
                    millis(first.time) / size as f64,
                    first.peak as f64 / 1e6,
                    millis(again.time),
                    again.peak as f64 / 1e6
                ),
                Err(error) => println!("  {size:>8} not measured: {error:#}"),
            }
        }
        Ok(())
    }

    /// The first build, and the same with nothing changed.
    fn measure(&self, bench: &Bench<'_>, size: usize) -> Result<(Used, Used)> {
        let mut best: Option<(Used, Used)> = None;
        for number in 0..RUNS {
            let context = (self.context)(bench, size, number)?;
            settle()?;
            let build = || watched(&mut Who::Kiln.build(bench.field, "state", "cost", &context));
            let (first, again) = (build()?, build()?);
            let (time, best_time) = (first.time, best.as_ref().map(|(first, _)| first.time));
            if best_time.is_none_or(|best| time < best) {
                best = Some((first, again));
            }
        }
        best.ok_or_else(|| anyhow::anyhow!("no run was counted"))
    }
}

fn files(bench: &Bench<'_>, count: usize, run: usize) -> Result<PathBuf> {
    let seed = (count + run) as u64;
    bench.tree(&format!("cost-files-{count}-{run}"), count, seed, "FROM busybox\nCOPY . /app\n")
}

fn stages(bench: &Bench<'_>, count: usize, run: usize) -> Result<PathBuf> {
    let (mut stages, mut copies) = (String::new(), String::new());
    for n in 0..count {
        // Writing to a string cannot fail.
        let _ = write!(stages, "FROM busybox AS s{n}\nRUN echo stage {count} {run} {n} > /f\n");
        let _ = writeln!(copies, "COPY --from=s{n} /f /f{n}");
    }
    bench.dockerfile("cost-stages", &format!("{stages}FROM busybox\n{copies}"))
}

/// The base is one layer of them.
fn layers(bench: &Bench<'_>, count: usize, run: usize) -> Result<PathBuf> {
    bench.dockerfile("cost-layers", &dockerfile("busybox", count - 1, &format!("cost-{count}-{run}-")))
}
