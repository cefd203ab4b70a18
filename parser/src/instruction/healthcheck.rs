//! `HEALTHCHECK [flags] CMD command` and `HEALTHCHECK NONE`.

use super::command::{CommandLine, command_line};
use super::{Line, Problem};
use crate::flags::Flags;
use crate::words::is_separator;

/// How to ask whether a container is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// Not at all, whatever the base says.
    None,
    /// By a command.
    Cmd(Health),
}

/// A command and its times in nanoseconds; 0 means the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is run.
    pub command: CommandLine,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`.
    pub retries: i64,
}

pub(super) fn parse(line: &Line<'_>) -> Result<Healthcheck, Problem> {
    let (kind, rest) = line.argument()?.split_once(is_separator).unwrap_or((line.rest, ""));
    let rest = rest.trim();
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if !rest.is_empty() => Err(Problem::new("HEALTHCHECK NONE takes no arguments")),
        // BuildKit reads no flags here; they are a warning.
        "NONE" => Ok(Healthcheck::None),
        "CMD" => health(line, rest).map(Healthcheck::Cmd),
        _ => Err(Problem {
            message: format!("unknown type `{kind}` in HEALTHCHECK"),
            help: Some("it is `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`".to_owned()),
        }),
    }
}

fn health(line: &Line<'_>, rest: &str) -> Result<Health, Problem> {
    let mut flags = Flags::new(line.flags);
    let health = Health {
        interval: duration(&mut flags, "interval")?,
        timeout: duration(&mut flags, "timeout")?,
        start_period: duration(&mut flags, "start-period")?,
        start_interval: duration(&mut flags, "start-interval")?,
        retries: retries(flags.one("retries")?)?,
        command: command_line(rest)?,
    };
    flags.finish()?;
    let empty = match &health.command {
        CommandLine::Shell(text) => text.is_empty(),
        CommandLine::Exec(args) => args.is_empty(),
    };
    if empty { Err(Problem::new("missing command after HEALTHCHECK CMD")) } else { Ok(health) }
}

fn retries(text: Option<String>) -> Result<i64, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(0) };
    let number: i32 =
        text.parse().map_err(|_| Problem::new(format!("`--retries` must be a number, not `{text}`")))?;
    if number < 0 {
        return Err(Problem::new(format!("`--retries` cannot be negative (`{number}`)")));
    }
    Ok(number.into())
}

fn duration(flags: &mut Flags<'_>, name: &'static str) -> Result<i64, Problem> {
    const MILLISECOND: i64 = 1_000_000;
    let Some(text) = flags.one(name)?.filter(|text| !text.is_empty()) else { return Ok(0) };
    let nanos = parse_duration(&text).ok_or_else(|| Problem {
        message: format!("invalid duration `{text}` on flag `--{name}`"),
        help: Some("a duration is written like `30s`, `1m30s` or `500ms`".to_owned()),
    })?;
    if nanos < 0 || (nanos > 0 && nanos < MILLISECOND) {
        return Err(Problem::new(format!("interval `{text}` on flag `--{name}` cannot be less than 1ms")));
    }
    Ok(nanos)
}

/// Go's `time.ParseDuration`, in nanoseconds.
fn parse_duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total = 0f64;
    while !rest.is_empty() || total == 0.0 {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..number].parse().ok()?;
        let tail = &rest[number..];
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        total += value * unit_nanos(&tail[..unit])?;
        rest = &tail[unit..];
        if rest.is_empty() {
            break;
        }
    }
    let in_range = total.is_finite() && total < i64::MAX as f64;
    in_range.then_some(if negative { -(total.round() as i64) } else { total.round() as i64 })
}

fn unit_nanos(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Instruction;
    use crate::instruction::check;

    #[test]
    fn item_51_durations_are_go() {
        for (text, nanos) in
            [("1m30s", 90_000_000_000), ("500ms", 500_000_000), ("1.5h", 5_400_000_000_000), ("0", 0)]
        {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
        }
        for bad in ["", "5", "s", "1x", "1s2", "..s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn item_51_kinds_and_limits() {
        assert_eq!(check("HEALTHCHECK none"), Ok(Instruction::Healthcheck(Healthcheck::None)));
        assert!(check("HEALTHCHECK --interval=5s --retries=3 CMD curl -f x").is_ok());
        for bad in [
            "HEALTHCHECK",
            "HEALTHCHECK NONE x",
            "HEALTHCHECK CMD",
            "HEALTHCHECK curl",
            "HEALTHCHECK --interval=1us CMD x",
            "HEALTHCHECK --retries=-1 CMD x",
            "HEALTHCHECK --retries=3000000000 CMD x",
            "HEALTHCHECK --x=1 CMD y",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
