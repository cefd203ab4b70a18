//! Whether a container is well, as `ps` and `inspect` show it, with Docker's field names.

use std::time::Duration;

use kiln_engine::containers::{Health, HealthResult, HealthStatus, Healthcheck};
use serde_json::{Value, json};

/// What `ps` says after the time: ` (healthy)`.
pub(super) fn words(health: Option<&Health>) -> &'static str {
    match health.map(|health| health.status) {
        None => "",
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
    }
}

/// `.State.Health` of `inspect`.
pub(super) fn state(health: &Health) -> Value {
    let result = |result: &HealthResult| {
        json!({
            "Start": result.start, "End": result.end, "ExitCode": result.exit_code, "Output": result.output,
        })
    };
    json!({
        "Status": health.status.as_str(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(result).collect::<Vec<_>>(),
    })
}

/// The check as Docker's API has it, with times in nanoseconds.
pub(super) fn check(check: &Healthcheck) -> Value {
    let nanos =
        |time: Option<Duration>| time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    json!({
        "Test": check.test,
        "Interval": nanos(check.interval),
        "Timeout": nanos(check.timeout),
        "StartPeriod": nanos(check.start_period),
        "StartInterval": nanos(check.start_interval),
        "Retries": check.retries.unwrap_or(0),
    })
}
