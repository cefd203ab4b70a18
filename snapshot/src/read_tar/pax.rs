//! The records of PAX extended headers.

use kiln_sys::fs::Time;

use super::sparse;
use crate::xattrs::{Xattrs, is_content};

/// Begins the keys of a file with holes.
const SPARSE: &[u8] = b"GNU.sparse.";

/// What extended headers say of the entry that follows.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Xattrs,
    /// Where its content goes, if it has holes.
    pub(super) sparse: Option<sparse::Records>,
}

impl Overrides {
    /// Takes over the records of one extended header. An empty value takes an override back.
    pub(super) fn pax(&mut self, data: &[u8]) -> Result<(), &'static str> {
        for record in Records(data) {
            let (key, value) = record?;
            match key {
                b"path" => self.path = text(value),
                b"linkpath" => self.link = text(value),
                b"size" => self.size = number(value)?,
                b"uid" => self.uid = number(value)?,
                b"gid" => self.gid = number(value)?,
                b"mtime" => self.mtime = time(value)?,
                _ => match key.strip_prefix(SPARSE) {
                    Some(key) => self.sparse.get_or_insert_default().add(key, value)?,
                    None => self.xattr(key, value)?,
                },
            }
        }
        Ok(())
    }

    fn xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { return Ok(()) };
        if name.contains(&0) {
            return Err("attribute name contains a zero byte");
        }
        if is_content(name) {
            self.xattrs.retain(|(known, _)| known != name);
            self.xattrs.push((name.to_vec(), value.to_vec()));
        }
        Ok(())
    }
}

/// Looks through a global header. What it says does not count, as for other image tools; so it must not try to
/// name or size the entries that follow.
pub(super) fn global(data: &[u8]) -> Result<(), &'static str> {
    for record in Records(data) {
        let (key, _) = record?;
        if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(SPARSE) {
            return Err("a global header names or sizes entries");
        }
    }
    Ok(())
}

/// `<length> <key>=<value>\n`, where the length counts itself.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = split(self.0);
        self.0 = record.map_or(b"", |(_, _, rest)| rest);
        Some(record.map(|(key, value, _)| (key, value)).ok_or("malformed PAX record"))
    }
}

fn split(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // No record that fits has more digits than this.
    let space = data.iter().take(9).position(|&b| b == b' ')?;
    let length = number(&data[..space]).ok()?? as usize;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    if equals == 0 {
        return None;
    }
    Some((&record[..equals], &record[equals + 1..], &data[length..]))
}

fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn number(value: &[u8]) -> Result<Option<u64>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    if !value.iter().all(u8::is_ascii_digit) {
        return Err("malformed number in a PAX record");
    }
    let text = std::str::from_utf8(value).map_err(|_| "malformed number in a PAX record")?;
    match text.parse::<u64>() {
        Ok(number) if i64::try_from(number).is_ok() => Ok(Some(number)),
        _ => Err("number in a PAX record is out of range"),
    }
}

/// Seconds with an optional fraction, which is cut to nanoseconds; `-1.5` is half a second before `-1`.
fn time(value: &[u8]) -> Result<Option<Time>, &'static str> {
    const BAD: &str = "malformed time in a PAX record";
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).map_err(|_| BAD)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BAD);
    }
    let seconds: i64 = whole.parse().map_err(|_| BAD)?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().map_err(|_| BAD)?;
    if whole.starts_with('-') && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1).ok_or(BAD)?;
        return Ok(Some(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds }));
    }
    Ok(Some(Time { seconds, nanoseconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(data: &[u8]) -> Result<Overrides, &'static str> {
        let mut overrides = Overrides::default();
        overrides.pax(data).map(|()| overrides)
    }

    /// A record of less than a hundred bytes.
    fn record(key: &str, value: &str) -> String {
        let rest = key.len() + value.len() + 3;
        let length = if rest + 1 < 10 { rest + 1 } else { rest + 2 };
        format!("{length} {key}={value}\n")
    }

    #[test]
    fn records_override_and_take_back() {
        let records =
            [("path", "a\nb"), ("path", "c\nd"), ("mtime", "-1.5000000000"), ("size", "7"), ("size", "")];
        let data: String = records.iter().map(|(key, value)| record(key, value)).collect();
        let overrides = parse(data.as_bytes()).unwrap();
        assert_eq!(overrides.path.unwrap(), b"c\nd");
        assert_eq!(overrides.mtime, Some(Time { seconds: -2, nanoseconds: 500_000_000 }));
        assert_eq!(overrides.size, None);
    }

    #[test]
    fn attributes_are_filtered() {
        let data = record("SCHILY.xattr.user.a", "\0x") + &record("SCHILY.xattr.trusted.overlay.opaque", "y");
        let overrides = parse(data.as_bytes()).unwrap();
        assert_eq!(overrides.xattrs, [(b"user.a".to_vec(), b"\0x".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for data in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"6 a=b\nzz",
            b"3 \n",
            b"6 =ab\n",
            b"99999999999 a=b\n",
            b"10 size=-1\n",
            b"27 size=9223372036854775808\n",
            b"26 GNU.sparse.numbytes=12\n",
            b"23 GNU.sparse.map=1,,2\n",
            b"11 mtime=x\n",
        ] {
            assert!(parse(data).is_err(), "{}", data.escape_ascii());
        }
        assert!(global(b"9 path=x\n").is_err());
        assert!(global(b"13 comment=x\n").is_ok());
    }
}
