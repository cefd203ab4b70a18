//! Measuring: the time of commands, and the memory of one.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::field::run;

/// What several runs came to, in the unit of their row. Others on the machine only ever add to a run, so the best is
/// the one to compare.
pub(super) struct Figure {
    pub(super) best: f64,
    pub(super) median: f64,
}

impl Figure {
    /// Of what was measured, which must not be empty.
    pub(super) fn of(mut measured: Vec<f64>) -> Result<Figure> {
        measured.sort_by(f64::total_cmp);
        let best = *measured.first().context("no run was counted")?;
        Ok(Figure { best, median: measured[measured.len() / 2] })
    }

    /// `runs` timings of `once`, after one that does not count; it is given the number of the run.
    pub(super) fn times(runs: usize, once: impl FnMut(usize) -> Result<Duration>) -> Result<Figure> {
        let times = (0..=runs).map(once).skip(1).collect::<Result<Vec<_>>>()?;
        Figure::of(times.into_iter().map(millis).collect())
    }
}

/// A time as figures have it.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long a command takes that must succeed.
pub(super) fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    run(command)?;
    Ok(start.elapsed())
}

/// How long commands take one after the other.
pub(super) fn timed_all(commands: &mut [Command]) -> Result<Duration> {
    let start = Instant::now();
    commands.iter_mut().try_for_each(run)?;
    Ok(start.elapsed())
}

/// How long a command took and how many bytes of memory it had at most.
pub(super) struct Used {
    pub(super) time: Duration,
    pub(super) peak: u64,
}

/// Runs a command that must succeed, looking at its memory every millisecond; pages of files, as of the program itself, do not
/// count.
pub(super) fn watched(command: &mut Command) -> Result<Used> {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut peak = 0;
    let status = loop {
        peak = peak.max(own_kib(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(Used { time: start.elapsed(), peak: peak << 10 })
}

fn own_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?.trim().strip_suffix(" kB")?.parse().ok()
}
