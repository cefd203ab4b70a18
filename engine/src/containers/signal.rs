//! Signals by name and number.

use crate::{Error, Result};

/// Names and numbers on Linux (signal(7), x86-64 and arm64).
const SIGNALS: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];
const REALTIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The signal that kills.
pub(crate) const KILL: i32 = 9;
/// The signal that `stop` sends where neither image nor container names one.
pub(crate) const TERM: i32 = 15;

/// Reads `SIGTERM`, `term`, `15` or `RTMIN+3`.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name.parse::<i32>() {
        Ok(number) => Some(number).filter(|number| (1..=31).contains(number) || REALTIME.contains(number)),
        Err(_) => by_name(name),
    };
    number.ok_or_else(|| Error::invalid(format!("`{text}` is not a signal")))
}

fn by_name(name: &str) -> Option<i32> {
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    let realtime = match name.strip_prefix("RTMIN") {
        Some(rest) => offset(rest).map(|offset| REALTIME.start() + offset),
        None => name.strip_prefix("RTMAX").and_then(offset).map(|offset| REALTIME.end() + offset),
    };
    let known = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or(realtime.filter(|number| REALTIME.contains(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_people_write_them() {
        for (text, number) in
            [("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("rtmin", 34)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "33", "65", "SIGFOO", "RTMAX+1", "-9"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
