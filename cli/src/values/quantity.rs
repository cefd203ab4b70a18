//! Sizes and numbers of CPUs.

use kiln_engine::Result;

use super::wrong;

const NANO: f64 = 1e9;

/// Bytes from `512`, `64k`, `1.5g`, `256MiB`: units of 1024, as Docker reads them.
pub(crate) fn bytes(option: &str, text: &str) -> Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = lower[digits.len()..].trim();
    let power = match unit
        .strip_suffix('b')
        .unwrap_or(unit)
        .strip_suffix('i')
        .unwrap_or(unit.trim_end_matches('b'))
    {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return wrong(option, text, "a size ends in `b`, `k`, `m`, `g`, `t` or `p`"),
    };
    match digits.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok((number * 1024f64.powi(power)) as u64),
        _ => wrong(option, text, "a size is a number and a unit, such as `512m`"),
    }
}

/// Thousand-millionths of a CPU from `0.5`.
pub(crate) fn nano_cpus(option: &str, text: &str) -> Result<u64> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e6 => Ok((number * NANO).round() as u64),
        _ => wrong(option, text, "a number of CPUs is more than 0, such as `1.5`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        let cases = [
            ("512", 512),
            ("0", 0),
            ("512b", 512),
            ("64k", 65536),
            ("64kb", 65536),
            ("64KiB", 65536),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("1 GB", 1 << 30),
            ("2t", 2 << 40),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes("-m", text).unwrap(), expected, "{text}");
        }
        for bad in ["", "m", "-1", "12x", "1gg", "nan", "1e400", "inf"] {
            assert!(bytes("-m", bad).is_err(), "`{bad}` was accepted");
        }
        assert_eq!(
            bytes("-m", "12x").unwrap_err().message,
            "`-m 12x`: a size ends in `b`, `k`, `m`, `g`, `t` or `p`"
        );
    }

    #[test]
    fn cpus_are_fractions() {
        assert_eq!(nano_cpus("--cpus", "1.5").unwrap(), 1_500_000_000);
        assert_eq!(nano_cpus("--cpus", ".25").unwrap(), 250_000_000);
        for bad in ["0", "-1", "two", ""] {
            assert!(nano_cpus("--cpus", bad).is_err(), "`{bad}` was accepted");
        }
    }
}
