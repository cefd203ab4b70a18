//! `STOPSIGNAL name-or-number`.

use super::{Line, Problem};

/// Linux signals by number, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const ALIASES: [&str; 4] = ["IOT", "CLD", "POLL", "UNUSED"];
const LAST: u32 = 64;

/// Flags are taken and ignored, as BuildKit does; they are a warning.
pub(super) fn parse(line: &Line<'_>) -> Result<String, Problem> {
    line.argument().map(str::to_owned)
}

/// Whether Linux knows a signal of this name (`SIG` may be left out) or number.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=LAST).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS.contains(&name) || ALIASES.contains(&name) || is_realtime(name)
}

fn is_realtime(name: &str) -> bool {
    let offset = |prefix: &str, sign: char| {
        let rest = name.strip_prefix(prefix)?;
        if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse::<u32>().ok() }
    };
    offset("RTMIN", '+').is_some_and(|n| n <= 15) || offset("RTMAX", '-').is_some_and(|n| n <= 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_61_names_and_numbers() {
        for good in ["SIGTERM", "term", "9", "64", "SIGRTMIN+3", "RTMAX-1", "SIGRTMIN"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "65", "SIGNOPE", "SIGRTMIN+99", "-1", "SIG"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
