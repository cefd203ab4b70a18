//! One piece of a transfer over time: bytes, rate and how long it takes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use kiln_engine::progress::Transfer;

use crate::text;
use crate::values::time;

/// The time over which a rate is measured.
const WINDOW: Duration = Duration::from_secs(1);
/// A rate is shown of what takes at least so long.
const WORTH_A_RATE: Duration = Duration::from_millis(500);
/// Digits of a digest that people read.
const SHORT: usize = 12;

/// A piece that is moved.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub(super) transfer: Transfer,
    pub(super) started: SystemTime,
    /// When it was last heard of.
    pub(super) seen: SystemTime,
    /// When a measurement of the rate began, and the bytes at that time.
    mark: (SystemTime, u64),
    /// Bytes a second.
    rate: Option<f64>,
}

impl Moved {
    /// Writes down how far `transfer` is at `at`.
    pub(super) fn note(all: &mut BTreeMap<String, Moved>, transfer: &Transfer, at: SystemTime) {
        // What is only heard of when it is over was done beside what was done before.
        let begun = |moved: &&mut Moved| moved.transfer.action == transfer.action || transfer.done;
        match all.get_mut(&transfer.item).filter(begun) {
            Some(moved) => moved.go_on(transfer, at),
            None => {
                let mark = (at, transfer.current);
                let moved = Moved { transfer: transfer.clone(), started: at, seen: at, mark, rate: None };
                all.insert(transfer.item.clone(), moved);
            }
        }
    }

    fn go_on(&mut self, transfer: &Transfer, at: SystemTime) {
        let (since, bytes) = self.mark;
        let passed = at.duration_since(since).unwrap_or_default();
        if passed >= WINDOW {
            self.rate = Some(transfer.current.saturating_sub(bytes) as f64 / passed.as_secs_f64());
            self.mark = (at, transfer.current);
        }
        self.transfer = transfer.clone();
        self.seen = at;
    }

    pub(super) fn is_open(&self) -> bool {
        !self.transfer.done
    }

    /// How long it took, or has taken until `now`.
    pub(super) fn elapsed(&self, now: SystemTime) -> Duration {
        let until = if self.transfer.done { self.seen } else { now };
        until.duration_since(self.started).unwrap_or_default()
    }

    /// Bytes a second: of the last while, or of the whole where it is over; nothing where it was too short to tell.
    pub(super) fn rate(&self, now: SystemTime) -> Option<u64> {
        let elapsed = self.elapsed(now);
        let whole = || self.transfer.current as f64 / elapsed.as_secs_f64();
        let rate = if self.transfer.done { whole() } else { self.rate.unwrap_or_else(whole) };
        (elapsed >= WORTH_A_RATE && self.transfer.current > 0).then_some(rate as u64)
    }

    /// `12.3MB / 65MB` or, where the end is not known, `12.3MB`.
    pub(super) fn amount(&self) -> String {
        let current = time::size(self.transfer.current);
        match self.transfer.total.filter(|total| *total > 0) {
            Some(total) => format!("{current} / {}", time::size(total)),
            None => current,
        }
    }

    /// What is done to what: `downloading 3f5e8a1b2c3d`.
    pub(super) fn name(&self) -> String {
        let item = &self.transfer.item;
        let hex = item.strip_prefix("sha256:").and_then(|hex| hex.get(..SHORT));
        format!("{} {}", self.transfer.action, one_line(hex.unwrap_or(item)))
    }
}

/// A text of others on one line, harmless for a terminal.
pub(super) fn one_line(text: &str) -> String {
    text::neutral(text).replace(['\n', '\t'], " ")
}

/// `1.2s`, as BuildKit shows times.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_while() {
        let at = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        let mut all = BTreeMap::new();
        let mut go = |milliseconds, current, done| {
            let item = format!("sha256:{}", "0123456789ab".repeat(5));
            let transfer =
                Transfer { item: item.clone(), action: "downloading", current, total: Some(5000), done };
            Moved::note(&mut all, &transfer, at(milliseconds));
            let moved = &all[&item];
            (moved.amount(), moved.rate(at(milliseconds)))
        };
        assert_eq!(go(0, 100, false), ("100B / 5kB".to_owned(), None));
        assert_eq!(go(500, 1000, false).1, Some(2000));
        assert_eq!(go(1000, 1100, false).1, Some(1000));
        assert_eq!(go(2000, 4100, false).1, Some(3000));
        assert_eq!(go(2500, 5000, true).1, Some(2000));
        let moved = all.into_values().next().unwrap();
        assert_eq!(moved.name(), "downloading 0123456789ab");
        assert_eq!(moved.elapsed(at(9000)), Duration::from_millis(2500));
    }
}
