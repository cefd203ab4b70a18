//! When to try again, and how long to wait before.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Without a byte for so long, in all attempts together, a transfer has stalled.
pub const STALL: Duration = Duration::from_secs(30);
/// For a connection to be made.
pub const CONNECT: Duration = Duration::from_secs(10);
/// For so long a mirror that could not be connected to is passed over.
pub const MIRROR_REST: Duration = Duration::from_secs(60);
/// For a registry to store what it was sent, once it has all of it.
pub const COMMIT: Duration = Duration::from_secs(5 * 60);
/// For how long a request is tried again without progress.
pub const BUDGET: Duration = Duration::from_secs(5 * 60);
/// The longest first pause.
pub const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The longest pause that a registry may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// How often a connection that cannot be made is tried: a wrong port will stay wrong.
pub const CONNECT_ATTEMPTS: u32 = 3;
/// How often a request may stall without progress; each attempt has its share of `Limits::stall`.
const STALL_ATTEMPTS: u32 = 2;

/// How long and how often things are tried. Tests shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// See [`STALL`].
    pub stall: Duration,
    /// See [`CONNECT`].
    pub connect: Duration,
    /// See [`COMMIT`].
    pub commit: Duration,
    /// See [`BUDGET`].
    pub budget: Duration,
    /// See [`BACKOFF_MIN`].
    pub backoff_min: Duration,
    /// See [`BACKOFF_MAX`].
    pub backoff_max: Duration,
    /// See [`RETRY_AFTER_MAX`].
    pub retry_after_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            stall: STALL,
            connect: CONNECT,
            commit: COMMIT,
            budget: BUDGET,
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            retry_after_max: RETRY_AFTER_MAX,
        }
    }
}

impl Limits {
    /// How long one attempt may be without progress.
    pub(crate) fn stall_of_attempt(&self) -> Duration {
        self.stall / STALL_ATTEMPTS
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No connection was made.
    Connect,
    /// Nothing came for too long.
    Stall,
    /// The connection broke.
    Broken,
    /// The registry said: later. Maybe it said when.
    Busy(Option<Duration>),
}

/// Whether an answer means that the same request may succeed later.
pub(crate) fn busy(status: StatusCode, headers: &HeaderMap) -> Option<Cause> {
    let busy = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
    busy.then(|| Cause::Busy(headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?))))
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(http_date(value)?.saturating_sub(now)))
}

/// Seconds since 1970 of a date as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts[..] else { return None };
    let clock: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (day, year): (u64, u64) = (
        day.parse().ok().filter(|day| *day <= 31)?,
        year.parse().ok().filter(|year| (1970..=9999).contains(year))?,
    );
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    // Days from the civil calendar, the year starting in March so that the leap day is its last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day.checked_sub(1)?;
    Some((days.checked_sub(719_468)? * 24 + hour) * 3600 + minute * 60 + second)
}

/// The attempts of one request: how many there were and whether there is another.
#[derive(Debug)]
pub(crate) struct Attempts {
    started: Instant,
    failures: u32,
    connects: u32,
    stalls: u32,
    patient: bool,
}

impl Attempts {
    /// A new count; who is not `patient` has another place to go and tries only once.
    pub(crate) fn new(patient: bool) -> Self {
        Attempts { started: Instant::now(), failures: 0, connects: 0, stalls: 0, patient }
    }

    /// Something came: the count starts anew.
    pub(crate) fn progress(&mut self) {
        *self = Attempts::new(self.patient);
    }

    /// Whether only one attempt has failed.
    pub(crate) fn is_first(&self) -> bool {
        self.failures <= 1
    }

    /// How long to wait before the next attempt; `None` when it is enough.
    pub(crate) fn next(&mut self, cause: Cause, limits: &Limits) -> Option<Duration> {
        self.failures += 1;
        let enough = match cause {
            Cause::Connect => count(&mut self.connects) >= CONNECT_ATTEMPTS,
            Cause::Stall => count(&mut self.stalls) >= STALL_ATTEMPTS,
            Cause::Broken | Cause::Busy(_) => false,
        };
        let pause = match cause {
            Cause::Busy(Some(asked)) if asked <= limits.retry_after_max => asked,
            Cause::Busy(Some(_)) => return None,
            _ => self.backoff(limits),
        };
        let in_budget = self.started.elapsed() + pause <= limits.budget;
        (self.patient && !enough && in_budget).then_some(pause)
    }

    /// Full jitter: anything up to the doubling limit, so that many clients do not come back together.
    fn backoff(&self, limits: &Limits) -> Duration {
        let doubled = limits.backoff_min.saturating_mul(1 << (self.failures - 1).min(16));
        doubled.min(limits.backoff_max).mul_f64(random())
    }
}

fn count(counter: &mut u32) -> u32 {
    *counter += 1;
    *counter
}

/// A number in 0..1, from the seed of the standard library's hash maps; no secret depends on it.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("3"), Some(Duration::from_secs(3)));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for bad in [
            "",
            "-1",
            "soon",
            "Sun, 06 Xxx 1994 08:49:37 GMT",
            "a, 00 Jan 1970 0:0:0 GMT",
            "a, 18446744073709551615 Jan 2000 99999999999999999:0:0 GMT",
        ] {
            assert_eq!(retry_after(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_wait_is_what_was_asked_for_or_within_the_backoff() {
        let limits = Limits::default();
        let mut attempts = Attempts::new(true);
        assert_eq!(
            attempts.next(Cause::Busy(Some(Duration::from_secs(7))), &limits),
            Some(Duration::from_secs(7))
        );
        for _ in 0..50 {
            assert!(attempts.next(Cause::Broken, &limits).unwrap() <= BACKOFF_MAX);
        }
        assert_eq!(attempts.next(Cause::Busy(Some(Duration::from_secs(9999))), &limits), None);
        assert_eq!(Attempts::new(false).next(Cause::Broken, &limits), None);
    }

    #[test]
    fn stalls_and_failed_connections_end_early() {
        let limits = Limits::default();
        let mut attempts = Attempts::new(true);
        assert!(attempts.next(Cause::Stall, &limits).is_some());
        assert!(attempts.next(Cause::Stall, &limits).is_none());
        attempts.progress();
        assert!(attempts.next(Cause::Stall, &limits).is_some());
        let mut attempts = Attempts::new(true);
        let tries = std::iter::from_fn(|| attempts.next(Cause::Connect, &limits)).count();
        assert_eq!(tries as u32, CONNECT_ATTEMPTS - 1);
    }
}
