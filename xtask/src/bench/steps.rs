//! Thirty RUN steps, and the memory that they take.

use anyhow::Result;

use super::figure::{Figure, timed, watched};
use super::report::Unit::{Megabytes, Milliseconds};
use super::{Bench, Who, Work};
use crate::peers::Kind;

const STEPS: usize = 30;

pub(super) const WORK: &[Work] = &[
    Work {
        name: "steps: 30 x RUN echo on busybox, nothing cached, whole command",
        goal: 120.0,
        unit: Milliseconds,
        measure: |bench, who| can(who).then(|| uncached(bench, who)),
    },
    Work {
        name: "cached: 30 x RUN echo on busybox, all cached, whole command",
        goal: 8.0,
        unit: Milliseconds,
        measure: |bench, who| can(who).then(|| cached(bench, who)),
    },
    Work {
        name: "memory: largest resident size of kiln build of the steps",
        goal: 64.0,
        unit: Megabytes,
        measure: |bench, who| matches!(who, Who::Kiln).then(|| memory(bench)),
    },
];

fn can(who: Who<'_>) -> bool {
    who.builds() || matches!(who, Who::Peer(peer) if peer.kind == Kind::Classic)
}

/// `count` steps, which `salt` makes new.
pub(super) fn dockerfile(base: &str, count: usize, salt: &str) -> String {
    let steps: String = (0..count).map(|n| format!("RUN echo {salt}{n} > /f{n}\n")).collect();
    format!("FROM {base}\n{steps}")
}

fn uncached(bench: &Bench<'_>, who: Who<'_>) -> Result<Figure> {
    who.have(bench.field, "busybox")?;
    let runs = if matches!(who, Who::Kiln) { bench.runs } else { bench.runs.min(3) };
    Figure::times(runs, |number| {
        let text = dockerfile(&who.base("busybox"), STEPS, &format!("{}-{number}-", who.name().len()));
        let context = bench.dockerfile("steps", &text)?;
        timed(&mut who.build(bench.field, "state", "steps", &context))
    })
}

fn cached(bench: &Bench<'_>, who: Who<'_>) -> Result<Figure> {
    who.have(bench.field, "busybox")?;
    let text = dockerfile(&who.base("busybox"), STEPS, &format!("{}-cached-", who.name().len()));
    let context = bench.dockerfile("cached", &text)?;
    Figure::times(bench.runs * 4, |_| timed(&mut who.build(bench.field, "state", "cached", &context)))
}

fn memory(bench: &Bench<'_>) -> Result<Figure> {
    let context = bench.dockerfile("memory", &dockerfile("busybox", STEPS, "memory-"))?;
    let mut command = Who::Kiln.build(bench.field, "state", "memory", &context);
    Figure::of(vec![watched(&mut command)?.peak as f64 / 1e6])
}
