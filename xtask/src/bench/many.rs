//! Thirty-two builds at once in one engine.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::figure::Figure;
use super::report::Unit::Milliseconds;
use super::{Bench, Who, Work};

const BUILDS: usize = 32;
/// What builds in one process as a service would.
const EXAMPLE: &str = "builds_at_once";

pub(super) const WORK: &[Work] = &[Work {
    name: "many: 32 builds of one RUN each, at once in one engine",
    goal: 400.0,
    unit: Milliseconds,
    measure: |bench, who| match who {
        Who::Kiln => Some(kiln(bench)),
        Who::Peer(_) => who.builds().then(|| peer(bench, who)),
    },
}];

fn kiln(bench: &Bench<'_>) -> Result<Figure> {
    Who::Kiln.have(bench.field, "busybox")?;
    let program = bench.field.example(bench.root, "kiln-engine", EXAMPLE)?;
    Figure::times(bench.runs, |number| {
        let mut command = Command::new(&program);
        command.arg(bench.field.folder("state")?).arg(bench.field.config());
        let output = command.args([&BUILDS.to_string(), &number.to_string()]).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("{EXAMPLE} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let seconds: f64 = said.trim().parse().with_context(|| format!("{EXAMPLE} printed `{said}`"))?;
        Ok(Duration::from_secs_f64(seconds))
    })
}

/// A peer's clients at once; its daemon, where it has one, is the one engine.
fn peer(bench: &Bench<'_>, who: Who<'_>) -> Result<Figure> {
    who.have(bench.field, "busybox")?;
    Figure::times(bench.runs.min(3), |number| {
        let contexts = (0..BUILDS).map(|build| {
            let text = format!("FROM {}\nRUN echo {number} {build} > /f\n", who.base("busybox"));
            bench.dockerfile(&format!("many-{build}"), &text)
        });
        let contexts = contexts.collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        let builds = contexts.iter().enumerate().map(|(build, context)| {
            let mut command = who.build(bench.field, "state", &format!("many-{build}"), context);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        });
        let builds = builds.collect::<std::io::Result<Vec<_>>>()?;
        let mut failed = 0;
        for mut build in builds {
            failed += usize::from(!build.wait()?.success());
        }
        if failed > 0 {
            bail!("{failed} of {BUILDS} builds failed");
        }
        Ok(start.elapsed())
    })
}
