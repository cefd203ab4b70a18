//! When a container's program starts again, and after how long.

use std::time::Duration;

use crate::containers::RestartPolicy;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A program that ran this long is well: the next delay is the first again.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// Whether a program that ended so, and was started again `restarts` times, starts once more.
pub(super) fn wanted(policy: RestartPolicy, code: i32, restarts: u32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { max } => code != 0 && (max == 0 || restarts < max),
    }
}

/// Delays that double.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The delay after a run that took `ran`.
    pub(super) fn next(&mut self, ran: Duration) -> Duration {
        let doubled = self.last.filter(|_| ran < WELL_AFTER).map(|last| (last * 2).min(LONGEST_DELAY));
        *self.last.insert(doubled.unwrap_or(FIRST_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_minute_and_begin_anew() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..12).map(|_| backoff.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[11], 60_000);
        assert_eq!(backoff.next(WELL_AFTER), FIRST_DELAY);
    }

    #[test]
    fn policies() {
        assert!(!wanted(RestartPolicy::No, 1, 0));
        assert!(wanted(RestartPolicy::Always, 0, 99));
        let twice = RestartPolicy::OnFailure { max: 2 };
        assert!(wanted(twice, 1, 1) && !wanted(twice, 1, 2) && !wanted(twice, 0, 0));
        assert!(wanted(RestartPolicy::OnFailure { max: 0 }, 1, 1000));
    }
}
