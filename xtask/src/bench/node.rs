//! `testdata/my-node-app`, whose one RUN installs a package of 100 MB: what the builder adds to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::build::Network;
use super::figure::{Figure, millis, timed};
use super::report::Unit::Milliseconds;
use super::{Bench, Who, Work};
use crate::field::{run, settle};
use crate::peers::Kind;

const BASE: &str = "debian:bookworm";
/// Each run asks Debian's mirror for a hundred packages.
const RUNS: usize = 2;
/// Printed before and after the installation, with the time in nanoseconds.
const BEGIN: &str = "installation-begins-at";
const END: &str = "installation-ends-at";

pub(super) const WORK: &[Work] = &[
    Work {
        name: "node: my-node-app from nothing, pushed, without the installation's own time",
        goal: 1000.0,
        unit: Milliseconds,
        measure: |bench, who| who.builds().then(|| measure(bench, who, "node", whole)),
    },
    Work {
        name: "export: the layer of an installation of nodejs, compressed and pushed",
        goal: 800.0,
        unit: Milliseconds,
        measure: |bench, who| who.builds().then(|| measure(bench, who, "export", push)),
    },
];

/// One measurement: of the context, on the state root of this name.
type Measure = fn(&Bench<'_>, Who<'_>, &Path, &str) -> Result<Duration>;

fn measure(bench: &Bench<'_>, who: Who<'_>, row: &str, once: Measure) -> Result<Figure> {
    let context = context(bench, who)?;
    let base = bench.tag(who, "node:base");
    push_base(bench, who, &base)?;
    let spent = (0..RUNS).map(|number| once(bench, who, &context, &format!("{row}-{number}")));
    Figure::of(spent.map(|spent| Ok(millis(spent?))).collect::<Result<_>>()?)
}

/// The application with a RUN that tells its own time.
fn context(bench: &Bench<'_>, who: Who<'_>) -> Result<PathBuf> {
    let from = bench.root.join("testdata/my-node-app");
    let text = fs::read_to_string(from.join("Dockerfile"))?;
    let timed = format!("RUN echo {BEGIN} $(date +%s%N) && ");
    let text = text.replace(&format!("FROM {BASE}"), &format!("FROM {}", who.base(BASE)));
    let text = text.replacen("RUN ", &timed, 1).replacen(
        "lists/*\n",
        &format!("lists/* && echo {END} $(date +%s%N)\n"),
        1,
    );
    let folder = bench.dockerfile("node", &text)?;
    for name in ["index.js", "package.json"] {
        fs::copy(from.join(name), folder.join(name))?;
    }
    Ok(folder)
}

/// The registry has the base already, as the one in use every day has.
fn push_base(bench: &Bench<'_>, who: Who<'_>, tag: &str) -> Result<()> {
    who.have(bench.field, BASE)?;
    match who {
        Who::Kiln => run(&mut bench.field.command("state", &["tag", BASE, tag]))?,
        Who::Peer(peer) => peer.must(&["tag", who.base(BASE).trim_start_matches("docker://"), tag])?,
    }
    run(&mut who.push(bench.field, "state", tag))
}

/// From nothing to the registry, without what passes between the first and the last line that the step's own command prints.
fn whole(bench: &Bench<'_>, who: Who<'_>, context: &Path, state: &str) -> Result<Duration> {
    let tag = bench.tag(who, &format!("node:{state}"));
    forget(who)?;
    settle()?;
    let start = Instant::now();
    let mut said = String::new();
    for mut command in who.build_and_push_with(bench.field, state, &tag, context, Network::Host) {
        said += &said_by(&mut command)?;
    }
    let installation = Duration::from_nanos(moment(&said, END)?.saturating_sub(moment(&said, BEGIN)?));
    Ok(start.elapsed().saturating_sub(installation))
}

/// The push of what was built before it.
fn push(bench: &Bench<'_>, who: Who<'_>, context: &Path, state: &str) -> Result<Duration> {
    let tag = bench.tag(who, &format!("node:{state}"));
    forget(who)?;
    said_by(&mut who.build_with(bench.field, state, &tag, context, Network::Host))?;
    settle()?;
    timed(&mut who.push(bench.field, state, &tag))
}

/// What a command that must succeed prints.
fn said_by(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed: {}", said.lines().last().unwrap_or_default());
    }
    Ok(said)
}

/// Nothing of an earlier run is known any more.
fn forget(who: Who<'_>) -> Result<()> {
    match who {
        // Its state root is a fresh one: the bridge of a root that was removed would stay, with other addresses.
        Who::Kiln => Ok(()),
        Who::Peer(peer) if peer.kind == Kind::Buildah => peer.must(&["rmi", "--all", "--force"]),
        Who::Peer(peer) => peer.must(&["system", "prune", "--all", "--force"]),
    }
}

/// The time that stands after `word` in a log that may also show the command.
fn moment(log: &str, word: &str) -> Result<u64> {
    let mut after = log.split(word).skip(1).filter_map(|rest| rest.split_whitespace().next()?.parse().ok());
    after.next().with_context(|| format!("the log has no `{word}`"))
}
