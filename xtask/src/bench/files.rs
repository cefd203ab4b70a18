//! A context of 20,000 files: built, changed, pushed.

use std::path::PathBuf;

use anyhow::Result;

use super::context::change;
use super::figure::{Figure, timed, timed_all};
use super::report::Unit::Milliseconds;
use super::{Bench, Who, Work};
use crate::field::{run, settle};

/// How many files, 73 MB together.
const FILES: usize = 20_000;
/// Each of these takes seconds.
const MOST_RUNS: usize = 3;

pub(super) const WORK: &[Work] = &[
    Work {
        name: "files: 20,000 files, 73 MB, COPY and one RUN, first build, pushed",
        goal: 1000.0,
        unit: Milliseconds,
        measure: |bench, who| who.builds().then(|| first(bench, who)),
    },
    Work {
        name: "one file of 20,000 changed, COPY and one RUN, rebuilt and pushed",
        goal: 700.0,
        unit: Milliseconds,
        measure: |bench, who| who.builds().then(|| changed(bench, who, After::Run)),
    },
    Work {
        name: "one file of 20,000 changed, nothing after the COPY, rebuilt into the store",
        goal: 250.0,
        unit: Milliseconds,
        measure: |bench, who| who.builds().then(|| changed(bench, who, After::Nothing)),
    },
    Work {
        name: "none of 20,000 files changed, rebuilt into the store",
        goal: 30.0,
        unit: Milliseconds,
        measure: |bench, who| who.builds().then(|| unchanged(bench, who)),
    },
];

/// What the Dockerfile does after its COPY, and so where its image goes.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// One RUN; the image is pushed.
    Run,
    /// Nothing; the image stays.
    Nothing,
}

/// The tree number `number`, made for this measurement: nobody has seen its files.
fn tree(bench: &Bench<'_>, who: Who<'_>, number: usize, after: After) -> Result<PathBuf> {
    let step = if after == After::Run { "RUN echo built > /built\n" } else { "" };
    let dockerfile = format!("FROM {}\nCOPY . /app\n{step}", who.base("busybox"));
    let name = format!("files-{}-{number}-{}", who.name().replace(' ', ""), after == After::Run);
    let seed = number as u64 * 2 + u64::from(after == After::Run);
    bench.tree(&name, FILES, seed, &dockerfile)
}

fn first(bench: &Bench<'_>, who: Who<'_>) -> Result<Figure> {
    who.have(bench.field, "busybox")?;
    let tag = bench.tag(who, "files");
    Figure::times(bench.runs.min(MOST_RUNS), |number| {
        let tree = tree(bench, who, number + 1, After::Run)?;
        settle()?;
        timed_all(&mut who.build_and_push(bench.field, &tag, &tree))
    })
}

fn changed(bench: &Bench<'_>, who: Who<'_>, after: After) -> Result<Figure> {
    who.have(bench.field, "busybox")?;
    let tag = bench.tag(who, "changed");
    let tree = tree(bench, who, 0, after)?;
    let commands = || match after {
        After::Run => who.build_and_push(bench.field, &tag, &tree),
        After::Nothing => vec![who.build(bench.field, "state", &tag, &tree)],
    };
    commands().iter_mut().try_for_each(run)?;
    Figure::times(bench.runs.min(MOST_RUNS), |number| {
        change(&tree, &format!("{number} by {}", who.name()))?;
        settle()?;
        timed_all(&mut commands())
    })
}

fn unchanged(bench: &Bench<'_>, who: Who<'_>) -> Result<Figure> {
    who.have(bench.field, "busybox")?;
    let tag = bench.tag(who, "unchanged");
    let tree = tree(bench, who, 0, After::Nothing)?;
    let build = || who.build(bench.field, "state", &tag, &tree);
    run(&mut build())?;
    settle()?;
    Figure::times(bench.runs, |_| timed(&mut build()))
}
