//! Moments as the Docker API has them: RFC 3339, and seconds since 1970 with a fraction.

use jiff::Timestamp;

use super::Failure;

/// Docker writes this for a moment that never was.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// The seconds since 1970 of an RFC 3339 time; 0 where it is none.
pub(crate) fn seconds(rfc3339: &str) -> i64 {
    rfc3339.parse::<Timestamp>().map_or(0, Timestamp::as_second)
}

/// Docker's words for the time from `then`, in RFC 3339, until `now`: `3 minutes`; nothing where `then` is not a time.
pub fn since(then: &str, now: Timestamp) -> Option<String> {
    let then: Timestamp = then.parse().ok()?;
    Some(words(now.duration_since(then).as_secs().max(0)))
}

fn words(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        s if s < MINUTE => format!("{s} seconds"),
        s if s < 2 * MINUTE => "About a minute".to_owned(),
        s if s < 46 * MINUTE => format!("{} minutes", s / MINUTE),
        s if s < 2 * HOUR => "About an hour".to_owned(),
        s if s < 2 * DAY => format!("{} hours", s / HOUR),
        s if s < 14 * DAY => format!("{} days", s / DAY),
        s if s < 60 * DAY => format!("{} weeks", s / DAY / 7),
        s if s < 730 * DAY => format!("{} months", s / DAY / 30),
        s => format!("{} years", s / DAY / 365),
    }
}

/// What `since` and `until` say: seconds since 1970 with a fraction, or RFC 3339. `0` and nothing say nothing.
pub(crate) fn moment(text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text.filter(|text| !matches!(*text, "" | "0")) else { return Ok(None) };
    let parsed = fraction(text).or_else(|| text.parse().ok());
    parsed.map(Some).ok_or_else(|| Failure::bad_request(format!("`{text}` is not a time")))
}

/// `seconds[.nanoseconds]`, exactly.
fn fraction(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole.trim_start_matches('-')) || !is_number(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}");
    Timestamp::new(whole.parse().ok()?, nanoseconds.get(..9)?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_moment_are_read() {
        let read = |text: &str| moment(Some(text)).map(|moment| moment.map(|moment| moment.to_string()));
        assert_eq!(read("1136073600.5").unwrap().unwrap(), "2006-01-01T00:00:00.5Z");
        assert_eq!(read("1136073600.000000001").unwrap().unwrap(), "2006-01-01T00:00:00.000000001Z");
        assert_eq!(read("2006-01-01T00:00:00Z").unwrap().unwrap(), "2006-01-01T00:00:00Z");
        assert_eq!((read("").unwrap(), read("0").unwrap()), (None, None));
        for bad in ["yesterday", "1.", ".5", "1.2.3", "-"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!((words(59), words(3 * 86_400)), ("59 seconds".to_owned(), "3 days".to_owned()));
        assert_eq!(seconds("2006-01-01T00:00:00Z"), 1_136_073_600);
    }
}
