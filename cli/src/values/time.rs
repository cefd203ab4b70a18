//! Times in arguments and in lists.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kiln_engine::Result;
/// `3 minutes`, as lists show the time since a moment.
pub(crate) use kiln_service::docker::since;

use super::wrong;

/// A time as RFC 3339: from a time, a date, seconds since 1970, or how long ago (`10m`, `1h30m`).
pub(crate) fn moment(option: &str, text: &str, now: Timestamp) -> Result<String> {
    if let Some(ago) = duration(text) {
        return Ok((now - ago).to_string());
    }
    if let Ok(seconds) = text.parse::<f64>()
        && let Ok(time) = Timestamp::from_nanosecond((seconds * 1e9) as i128)
    {
        return Ok(time.to_string());
    }
    let variants = [text.to_owned(), format!("{text}Z"), format!("{text}:00Z"), format!("{text}T00:00:00Z")];
    match variants.iter().find_map(|text| text.parse::<Timestamp>().ok()) {
        Some(time) => Ok(time.to_string()),
        None => {
            wrong(option, text, "a time is `2026-01-31T12:00:00Z`, a date, or how long ago, such as `10m`")
        }
    }
}

/// A length of time such as `1m30s`, a millisecond at least; `0` is none.
pub(crate) fn length(option: &str, text: &str) -> Result<Option<Duration>> {
    if text == "0" {
        return Ok(None);
    }
    match duration(text).map(Duration::try_from) {
        Some(Ok(length)) if length.is_zero() => Ok(None),
        Some(Ok(length)) if length >= Duration::from_millis(1) => Ok(Some(length)),
        Some(Ok(_)) => wrong(option, text, "it is at least 1ms"),
        _ => wrong(option, text, "a length of time is `30s`, `1m30s` or `500ms`"),
    }
}

/// Go's form: `1h30m`, `45s`, `100ms`, `1.5h`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    (!text.is_empty() && seconds < 1e12).then(|| SignedDuration::from_secs_f64(seconds))
}

/// Bytes as lists show them: units of 1000, three or four digits, as `12.3MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    let digits = match number {
        n if unit == 0 || n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{number:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let cases = [
            ("10m", "2026-01-31T11:50:00Z"),
            ("1h30m", "2026-01-31T10:30:00Z"),
            ("2026-01-30T00:00:00+01:00", "2026-01-29T23:00:00Z"),
            ("2026-01-30", "2026-01-30T00:00:00Z"),
            ("2026-01-30T10:11", "2026-01-30T10:11:00Z"),
            ("0", "1970-01-01T00:00:00Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(moment("--since", text, now).unwrap(), expected, "{text}");
        }
        for bad in ["", "yesterday", "10", "10x"].iter().filter(|text| **text != "10") {
            assert!(moment("--since", bad, now).is_err(), "`{bad}` was accepted");
        }
    }

    #[test]
    fn ages_are_dockers_words() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let cases = [
            ("2026-01-31T12:00:00Z", "Less than a second"),
            ("2026-01-31T11:59:30Z", "30 seconds"),
            ("2026-01-31T11:58:50Z", "About a minute"),
            ("2026-01-31T11:30:00Z", "30 minutes"),
            ("2026-01-31T11:00:00Z", "About an hour"),
            ("2026-01-31T02:00:00Z", "10 hours"),
            ("2026-01-28T12:00:00Z", "3 days"),
            ("2026-01-10T12:00:00Z", "3 weeks"),
            ("2025-06-01T12:00:00Z", "8 months"),
            ("2020-06-01T12:00:00Z", "5 years"),
        ];
        for (then, expected) in cases {
            assert_eq!(since(then, now).as_deref(), Some(expected), "{then}");
        }
        assert_eq!(since("", now), None);
    }

    #[test]
    fn sizes() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (12_345_678, "12.3MB"),
            (180_000_000, "180MB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
    }
}
