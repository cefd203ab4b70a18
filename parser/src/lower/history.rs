//! History entries as BuildKit writes them.

use std::fmt::Write;

use kiln_oci::{Healthcheck, History};

use super::stage::StageState;

/// Says which builder made an entry.
const COMMENT: &str = "buildkit.dockerfile.v0";

impl StageState {
    /// An entry of an instruction that only changes the configuration.
    pub(super) fn record(&mut self, created_by: impl Into<String>) {
        self.push(created_by.into(), true);
    }

    /// An entry of an instruction that made a layer.
    pub(super) fn record_layer(&mut self, created_by: impl Into<String>) {
        self.push(created_by.into(), false);
    }

    fn push(&mut self, created_by: String, empty_layer: bool) {
        self.config.history.push(History {
            created: None,
            created_by: Some(created_by),
            author: None,
            comment: Some(COMMENT.to_owned()),
            empty_layer,
        });
    }
}

/// Go's `%q` of a list of strings.
pub(super) fn quoted_list(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(" "))
}

/// Go's `%v` of a list of strings.
pub(super) fn plain_list(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

/// Go's `%+v` of a health check.
pub(super) fn plain_health(health: &Healthcheck) -> String {
    let Healthcheck { test, interval, timeout, start_period, start_interval, retries } = health;
    let [interval, timeout, start_period, start_interval] =
        [interval, timeout, start_period, start_interval].map(|nanos| duration(*nanos));
    format!(
        "{{Test:{} Interval:{interval} Timeout:{timeout} StartPeriod:{start_period} \
         StartInterval:{start_interval} Retries:{retries}}}",
        plain_list(test)
    )
}

/// Go's `strconv.Quote`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    text.chars().for_each(|c| escape(&mut out, c, '"'));
    out.push('"');
    out
}

fn escape(out: &mut String, c: char, quote: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0b' => out.push_str("\\v"),
        '\x0c' => out.push_str("\\f"),
        _ if c == quote => out.extend(['\\', c]),
        _ if u32::from(c) < 0x20 || c == '\x7f' => drop(write!(out, "\\x{:02x}", u32::from(c))),
        _ if c.is_ascii() || is_printable(c) => out.push(c),
        '\0'..='\u{ffff}' => drop(write!(out, "\\u{:04x}", u32::from(c))),
        _ => drop(write!(out, "\\U{:08x}", u32::from(c))),
    }
}

/// Whether a character is a letter, mark, number, punctuation or symbol: Rust's debug form leaves exactly these as
/// they are, marks only behind another character.
fn is_printable(c: char) -> bool {
    String::from_iter(['a', c]).escape_debug().count() == 2
}

/// Go's `Duration.String`.
fn duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let fraction = |whole: i64, unit: i64| {
        let part = format!("{:0width$}", whole % unit, width = unit.ilog10() as usize);
        let part = part.trim_end_matches('0');
        if part.is_empty() { format!("{}", whole / unit) } else { format!("{}.{part}", whole / unit) }
    };
    if nanos < 1_000_000_000 {
        return format!("{}ms", fraction(nanos, 1_000_000));
    }
    let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
    let minutes = nanos / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_58_go_writes_it_like_this() {
        let list = ["a".to_owned(), "b \"c\"\n\u{1}".to_owned()];
        assert_eq!(quoted_list(&list), r#"["a" "b \"c\"\n\x01"]"#);
        for (nanos, text) in [
            (1_500_000, "1.5ms"),
            (5_000_000_000, "5s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(nanos), text);
        }
        let test = vec!["CMD-SHELL".to_owned(), "a b".to_owned()];
        let health = Healthcheck { test, interval: 90_000_000_000, retries: 3, ..Healthcheck::default() };
        let expected =
            "{Test:[CMD-SHELL a b] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}";
        assert_eq!(plain_health(&health), expected);
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        let list = ["ä\u{301}€\u{1f600}".to_owned(), "\u{a0}\u{200b}\u{202e}\u{ad}\u{10ffff}".to_owned()];
        let expected = "[\"ä\u{301}€\u{1f600}\" \"\\u00a0\\u200b\\u202e\\u00ad\\U0010ffff\"]";
        assert_eq!(quoted_list(&list), expected);
    }
}
