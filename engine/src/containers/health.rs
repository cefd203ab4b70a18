//! Whether a container's program is well: what is asked, and what became of it. Values alone; the supervisor asks.

use std::time::Duration;

use kiln_oci::ContainerConfig;
use kiln_oci::config::Healthcheck as OfImage;
use serde::{Deserialize, Serialize};

/// The time between two checks, and the longest that one may take, where nobody says.
const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// The time between two checks in the start period, where nobody says.
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
/// Failures in a row that make a container unhealthy, where nobody says.
const DEFAULT_RETRIES: u32 = 3;
/// Results that are kept.
const KEPT_RESULTS: usize = 5;

/// How to ask; what is missing is the image's, else the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// Docker's form: `["CMD", program, …]`, `["CMD-SHELL", text]`, or `["NONE"]` for no check. Empty is the image's.
    pub test: Vec<String>,
    /// Between two checks; 30 seconds.
    pub interval: Option<Duration>,
    /// The longest that a check may take; 30 seconds.
    pub timeout: Option<Duration>,
    /// After the start, while failures do not count; none.
    pub start_period: Option<Duration>,
    /// Between two checks in that period, until the first success; 5 seconds.
    pub start_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy; 3.
    pub retries: Option<u32>,
}

/// The state of a container whose program is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What the results so far come to.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub log: Vec<HealthResult>,
}

/// What the results of checks come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// None has succeeded yet, and not enough have failed.
    #[default]
    Starting,
    /// The program is well.
    Healthy,
    /// It is not, or not asked any more.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ended, RFC 3339.
    pub end: String,
    /// 0 is success; -1 says that it did not start or took too long.
    pub exit_code: i32,
    /// The beginning of what it wrote.
    pub output: String,
}

impl Healthcheck {
    /// What is asked of a container of this image, where `given` is what its creator wants.
    pub(super) fn of(given: Option<&Healthcheck>, config: &ContainerConfig) -> Option<Healthcheck> {
        let image = config.healthcheck.as_ref().map(Healthcheck::of_image);
        match (given, image) {
            (None, image) => image,
            (Some(given), None) => Some(given.clone()),
            (Some(given), Some(image)) => Some(Healthcheck {
                test: if given.test.is_empty() { image.test } else { given.test.clone() },
                interval: given.interval.or(image.interval),
                timeout: given.timeout.or(image.timeout),
                start_period: given.start_period.or(image.start_period),
                start_interval: given.start_interval.or(image.start_interval),
                retries: given.retries.or(image.retries),
            }),
        }
    }

    /// Times of an image that make no sense are the default.
    fn of_image(image: &OfImage) -> Healthcheck {
        let time = |nanos: i64| u64::try_from(nanos).ok().filter(|n| *n > 0).map(Duration::from_nanos);
        Healthcheck {
            test: image.test.clone(),
            interval: time(image.interval),
            timeout: time(image.timeout),
            start_period: time(image.start_period),
            start_interval: time(image.start_interval),
            retries: u32::try_from(image.retries).ok().filter(|n| *n > 0),
        }
    }

    /// The program and its arguments that are run in the container; `None` where nothing is asked.
    pub(crate) fn command(&self, shell: &[String]) -> Option<Vec<String>> {
        let (kind, rest) = self.test.split_first()?;
        match kind.as_str() {
            "CMD" if !rest.is_empty() => Some(rest.to_vec()),
            "CMD-SHELL" if !rest.is_empty() => {
                let default = ["/bin/sh".to_owned(), "-c".to_owned()];
                let shell = if shell.is_empty() { &default[..] } else { shell };
                Some([shell, rest].concat())
            }
            _ => None,
        }
    }

    /// The longest that a check may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIME)
    }

    /// How long the next check is waited for, in a container that has run for `age`.
    pub(crate) fn pause(&self, status: HealthStatus, age: Duration) -> Duration {
        if status == HealthStatus::Starting && self.is_starting(age) {
            return self.start_interval.unwrap_or(DEFAULT_START_INTERVAL);
        }
        self.interval.unwrap_or(DEFAULT_TIME)
    }

    fn is_starting(&self, age: Duration) -> bool {
        age < self.start_period.unwrap_or_default()
    }
}

impl Health {
    /// Takes over the result of a check that began when the container had run for `age`.
    pub(crate) fn add(&mut self, result: HealthResult, check: &Healthcheck, age: Duration) {
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || !check.is_starting(age) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries.unwrap_or(DEFAULT_RETRIES) {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(result);
        self.log.drain(..self.log.len().saturating_sub(KEPT_RESULTS));
    }

    /// As Docker has it, what does not run is not well.
    pub(super) fn after_the_end(self) -> Health {
        Health { status: HealthStatus::Unhealthy, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn check(words: &[&str]) -> Healthcheck {
        Healthcheck { test: words.iter().map(|word| (*word).to_owned()).collect(), ..Healthcheck::default() }
    }

    #[test]
    fn what_is_not_given_is_the_images() {
        let of_image = OfImage {
            test: vec!["CMD".to_owned(), "ask".to_owned()],
            interval: 7_000_000_000,
            timeout: -1,
            start_period: i64::MIN,
            retries: 0,
            ..OfImage::default()
        };
        let config = ContainerConfig { healthcheck: Some(of_image), ..ContainerConfig::default() };
        let own = Healthcheck::of(None, &config).unwrap();
        assert_eq!(
            (own.interval, own.timeout, own.start_period, own.retries),
            (Some(7 * SECOND), None, None, None)
        );
        let given = Healthcheck { timeout: Some(SECOND), ..Healthcheck::default() };
        let merged = Healthcheck::of(Some(&given), &config).unwrap();
        assert_eq!(merged, Healthcheck { timeout: Some(SECOND), ..own });
        let none = Healthcheck::of(Some(&check(&["NONE"])), &config).unwrap();
        assert_eq!(none.command(&[]), None);
        assert_eq!(Healthcheck::of(None, &ContainerConfig::default()), None);
    }

    #[test]
    fn each_form_is_a_command_or_none() {
        let command = |words: &[&str]| check(words).command(&[]);
        assert_eq!(command(&["CMD", "a", "b c"]).unwrap(), ["a", "b c"]);
        assert_eq!(command(&["CMD-SHELL", "a | b"]).unwrap(), ["/bin/sh", "-c", "a | b"]);
        let shell = ["bash".to_owned(), "-ec".to_owned()];
        assert_eq!(check(&["CMD-SHELL", "a"]).command(&shell).unwrap(), ["bash", "-ec", "a"]);
        for none in [&[][..], &["NONE"], &["CMD"], &["CMD-SHELL"], &["ASK", "x"]] {
            assert_eq!(command(none), None, "{none:?}");
        }
    }

    #[test]
    fn failures_count_in_a_row_and_after_the_start_period() {
        let check = Healthcheck { start_period: Some(10 * SECOND), retries: Some(2), ..check(&["CMD", "x"]) };
        let mut health = Health::default();
        let mut add = |exit_code: i32, age: u32| {
            health.add(HealthResult { exit_code, ..HealthResult::default() }, &check, age * SECOND);
            (health.status, health.failing_streak, health.log.len())
        };
        assert_eq!(add(1, 1), (HealthStatus::Starting, 0, 1));
        assert_eq!(add(1, 11), (HealthStatus::Starting, 1, 2));
        assert_eq!(add(0, 12), (HealthStatus::Healthy, 0, 3));
        assert_eq!(add(1, 13), (HealthStatus::Healthy, 1, 4));
        assert_eq!(add(-1, 14), (HealthStatus::Unhealthy, 2, 5));
        assert_eq!(add(0, 15), (HealthStatus::Healthy, 0, 5));
        // Once it was well, the start period is over.
        assert_eq!(add(1, 2), (HealthStatus::Healthy, 1, 5));
    }

    #[test]
    fn it_is_asked_more_often_until_it_is_well() {
        let mut check = Healthcheck { start_period: Some(10 * SECOND), ..check(&["CMD", "x"]) };
        assert_eq!(check.pause(HealthStatus::Starting, SECOND), 5 * SECOND);
        assert_eq!(check.pause(HealthStatus::Healthy, SECOND), 30 * SECOND);
        assert_eq!(check.pause(HealthStatus::Starting, 11 * SECOND), 30 * SECOND);
        (check.interval, check.start_interval) = (Some(2 * SECOND), Some(SECOND));
        assert_eq!(check.pause(HealthStatus::Starting, SECOND), SECOND);
        assert_eq!(check.pause(HealthStatus::Unhealthy, SECOND), 2 * SECOND);
    }
}
