//! Which lines a terminal has room for: steps that run first, then what they say, then those that are over.

use std::time::SystemTime;

use super::look::Look;
use super::moved::{Moved, one_line, seconds};
use super::steps::{Phase, Step};
use super::width::{columns, spread};
use crate::values::time;

/// The fewest columns that a name needs; where there are fewer, the time beside it is left out.
const NARROW: usize = 12;

/// A step and what is shown beneath it.
pub(super) struct Entry<'a> {
    pub(super) step: &'a Step,
    /// The last lines of its output.
    pub(super) tail: Vec<&'a str>,
}

impl Entry<'_> {
    fn is_running(&self) -> bool {
        self.step.phase == Phase::Running
    }
}

/// How a build stands.
pub(super) struct Stand<'a> {
    /// What is above it all.
    pub(super) headline: String,
    /// In the order in which they began.
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) now: SystemTime,
    pub(super) look: &'a Look,
    pub(super) columns: usize,
}

impl Stand<'_> {
    /// At most `rows` lines. What is left out is what is over for the longest time, then output, then steps that began
    /// last.
    pub(super) fn in_flight(&self, rows: usize) -> Vec<String> {
        let running = self.entries.iter().filter(|entry| entry.is_running()).count();
        let room = rows.saturating_sub(1);
        let mut shown = if running > room { room.saturating_sub(1) } else { running };
        let free = room.saturating_sub(running);
        let details: Vec<Vec<String>> = self.entries.iter().map(|entry| self.details(entry)).collect();
        let granted = shares(free, &details.iter().map(Vec::len).collect::<Vec<_>>());
        let left_over = free - granted.iter().sum::<usize>();
        let hidden = running - shown;
        let mut old = (self.entries.len() - running).saturating_sub(left_over);
        let mut lines = vec![self.headline.clone()];
        for (entry, (details, granted)) in self.entries.iter().zip(details.iter().zip(granted)) {
            let is_shown = if entry.is_running() { one_of(&mut shown) } else { !one_of(&mut old) };
            if is_shown {
                lines.push(self.line_of(entry.step));
                lines.extend_from_slice(&details[details.len() - granted..]);
            }
        }
        if hidden > 0 && room > 0 {
            lines.push(format!(" => {hidden} more in flight"));
        }
        lines
    }

    /// A line a step, as it stays when all is over; where that is more than `rows`, one for all of a run of cached
    /// steps.
    pub(super) fn at_the_end(&self, rows: usize) -> Vec<String> {
        let mut lines = vec![self.headline.clone()];
        let all_fit = self.entries.len() < rows;
        let cached = |entry: &Entry<'_>| entry.step.phase == Phase::Cached && !all_fit;
        for run in self.entries.chunk_by(|a, b| cached(a) && cached(b)) {
            match run {
                [first, _, ..] if cached(first) => {
                    let line = format!(" => CACHED {} steps", run.len());
                    lines.push(self.look.paint(|colours| &colours.run, &line));
                }
                run => lines.extend(run.iter().map(|entry| self.line_of(entry.step))),
            }
        }
        lines
    }

    /// ` => [2/3] RUN make      1.2s`, the time at the right.
    fn line_of(&self, step: &Step) -> String {
        let mark = match step.phase {
            Phase::Cached => "CACHED ",
            Phase::Failed(_) => "ERROR ",
            Phase::Cancelled => "CANCELED ",
            Phase::Waiting | Phase::Running | Phase::Done => "",
        };
        let left = format!(" => {mark}{}", one_line(&step.name));
        let line = with_time(&left, &seconds(step.elapsed(self.now)), self.columns);
        match step.phase {
            Phase::Failed(_) => self.look.paint(|colours| &colours.error, &line),
            Phase::Cancelled => self.look.paint(|colours| &colours.cancel, &line),
            Phase::Cached | Phase::Done => self.look.paint(|colours| &colours.run, &line),
            Phase::Waiting | Phase::Running => line,
        }
    }

    /// What a step that runs moves and says.
    fn details(&self, entry: &Entry<'_>) -> Vec<String> {
        if !entry.is_running() {
            return Vec::new();
        }
        let moved = entry.step.transfers.values().filter(|moved| moved.is_open());
        let moved = moved.map(|moved| moved_line(" => => ", moved, self.now, self.columns));
        let said = entry.tail.iter().map(|line| self.look.paint(|_| "2", &format!(" => => {line}")));
        let lines: Vec<String> = moved.chain(said).collect();
        lines[lines.len().saturating_sub(self.look.tail)..].to_vec()
    }
}

/// `downloading 3f5e8a1b2c3d 12.3MB / 65MB 8.1MB/s      1.2s`
pub(super) fn moved_line(indent: &str, moved: &Moved, now: SystemTime, width: usize) -> String {
    let rate = moved.rate(now).map_or_else(String::new, |rate| format!(" {}/s", time::size(rate)));
    let right = format!("{}{rate} {:>6}", moved.amount(), seconds(moved.elapsed(now)));
    let left = format!("{indent}{}", moved.name());
    match columns(&right) + NARROW < width {
        true => with_time(&left, &right, width),
        false => with_time(&left, &moved.amount(), width),
    }
}

/// `left`, and `time` at the right edge where both have room.
pub(super) fn with_time(left: &str, time: &str, width: usize) -> String {
    // The last column stays free.
    let width = width.saturating_sub(1);
    if columns(time) + NARROW > width { left.to_owned() } else { spread(left, time, width) }
}

/// Takes one of `count`; whether there was one.
fn one_of(count: &mut usize) -> bool {
    let left = count.checked_sub(1);
    *count = left.unwrap_or(0);
    left.is_some()
}

/// Shares `rows` out: each in turn gets one more, until it has what it wants or nothing is left.
fn shares(mut rows: usize, wanted: &[usize]) -> Vec<usize> {
    let mut granted = vec![0; wanted.len()];
    while rows > 0 && granted != wanted {
        for (granted, wanted) in granted.iter_mut().zip(wanted) {
            if *granted < *wanted && rows > 0 {
                *granted += 1;
                rows -= 1;
            }
        }
    }
    granted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use kiln_engine::oci::Digest;

    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn step(name: &str, phase: Phase, ended: Option<u64>) -> Step {
        Step {
            name: name.to_owned(),
            digest: Digest::of(name.as_bytes()),
            inputs: Vec::new(),
            phase,
            started: Some(START),
            ended: ended.map(|seconds| START + Duration::from_secs(seconds)),
            transfers: BTreeMap::new(),
        }
    }

    fn shown(steps: &[(Step, &[&str])], size: (usize, usize), at_the_end: bool) -> String {
        let look = Look { colours: None, tail: 3 };
        let stand = Stand {
            headline: "[+]".to_owned(),
            entries: steps.iter().map(|(step, tail)| Entry { step, tail: tail.to_vec() }).collect(),
            now: START + Duration::from_secs(2),
            look: &look,
            columns: size.1,
        };
        let lines = if at_the_end { stand.at_the_end(size.0) } else { stand.in_flight(size.0) };
        assert!(at_the_end || lines.len() <= size.0, "{lines:?}");
        lines.join("\n")
    }

    #[test]
    fn steps_that_run_come_first_then_what_they_say_then_the_rest() {
        let steps = [
            (step("one", Phase::Cached, Some(0)), &[][..]),
            (step("two", Phase::Running, None), &["a", "b", "c", "d"][..]),
            (step("three", Phase::Done, Some(1)), &["gone"][..]),
            (step("four", Phase::Running, None), &["e"][..]),
        ];
        let all = "[+]\n => CACHED one       0.0s\n => two              2.0s\n => => b\n => => c\n => => d\n \
                   => three            1.0s\n => four             2.0s\n => => e";
        assert_eq!(shown(&steps, (20, 26), false), all);
        let seven = "[+]\n => two              2.0s\n => => b\n => => c\n => => d\n => four             2.0s\n => => e";
        assert_eq!(shown(&steps, (7, 26), false), seven);
        let five = "[+]\n => two              2.0s\n => => d\n => four             2.0s\n => => e";
        assert_eq!(shown(&steps, (5, 26), false), five);
        assert_eq!(shown(&steps, (2, 26), false), "[+]\n => 2 more in flight");
        assert_eq!(shown(&steps, (1, 26), false), "[+]");
    }

    #[test]
    fn a_line_a_step_is_what_stays() {
        let cached = |name| (step(name, Phase::Cached, Some(0)), &[][..]);
        let failed = (step("RUN x", Phase::Failed("exit code: 1".to_owned()), Some(1)), &["said"][..]);
        let steps = [cached("a"), cached("b"), failed, cached("c")];
        let expected = "[+]\n => CACHED a         0.0s\n => CACHED b         0.0s\n => ERROR RUN x      1.0s\n \
                        => CACHED c         0.0s";
        assert_eq!(shown(&steps, (20, 26), true), expected);
        let expected = "[+]\n => CACHED 2 steps\n => ERROR RUN x      1.0s\n => CACHED c         0.0s";
        assert_eq!(shown(&steps, (3, 26), true), expected);
    }

    #[test]
    fn rows_are_shared_fairly() {
        assert_eq!(shares(5, &[6, 1, 6]), [2, 1, 2]);
        assert_eq!(shares(99, &[6, 0]), [6, 0]);
        assert_eq!(shares(0, &[1]), [0]);
    }

    #[test]
    fn narrow_terminals_see_the_name_and_no_time() {
        assert_eq!(with_time(" => RUN make", "1.0s", 20), " => RUN make   1.0s");
        assert_eq!(with_time(" => RUN make", "1.0s", 16), " => RUN make");
    }
}
