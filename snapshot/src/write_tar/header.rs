//! The bytes of a tar header: ustar, and PAX records only for what ustar cannot say.

use crate::read_tar::BLOCK;

/// What a header says.
pub(super) struct Header<'a> {
    pub(super) path: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) size: u64,
    pub(super) device: (u32, u32),
    pub(super) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Appends a header, after an extended one if it takes one.
pub(super) fn append(header: &Header<'_>, out: &mut Vec<u8>) {
    let mut records = Records::default();
    let mut block = [0; BLOCK];
    if !put_path(&mut block, header.path) {
        records.add(b"path", header.path);
        put(&mut block[..100], header.path);
    }
    if header.link.len() > 100 {
        records.add(b"linkpath", header.link);
    }
    put(&mut block[157..257], header.link);
    records.number(b"size", &mut block[124..136], header.size);
    records.number(b"uid", &mut block[108..116], header.uid.into());
    records.number(b"gid", &mut block[116..124], header.gid.into());
    records.time(&mut block[136..148], header.mtime);
    octal(&mut block[100..108], u64::from(header.mode & 0o7777));
    octal(&mut block[329..337], header.device.0.into());
    octal(&mut block[337..345], header.device.1.into());
    for (name, value) in header.xattrs {
        records.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    append_extended(header.path, records, out);
    seal(&mut block, header.kind);
    out.extend_from_slice(&block);
}

/// The bytes that [`append`] appends.
pub(super) fn length(header: &Header<'_>, scratch: &mut Vec<u8>) -> u64 {
    // What octal digits can say, and names that fit: most headers are one block.
    let fits = header.path.len() <= 100
        && header.link.len() <= 100
        && header.xattrs.is_empty()
        && header.size < 1 << 33
        && header.uid < 1 << 21
        && header.gid < 1 << 21
        && (0..1 << 33).contains(&header.mtime);
    if fits {
        return BLOCK as u64;
    }
    scratch.clear();
    append(header, scratch);
    scratch.len() as u64
}

/// Zeros after `size` bytes of content.
pub(super) fn append_padding(size: u64, out: &mut Vec<u8>) {
    let count = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    out.resize(out.len() + count, 0);
}

fn append_extended(path: &[u8], records: Records, out: &mut Vec<u8>) {
    let data = records.bytes();
    if data.is_empty() {
        return;
    }
    let mut block = [0; BLOCK];
    let name = path.strip_suffix(b"/").unwrap_or(path);
    put(&mut block[..100], &[b"PaxHeaders.0/", crate::path::split(name).1].concat());
    octal(&mut block[100..108], 0o644);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], data.len() as u64);
    octal(&mut block[136..148], 0);
    octal(&mut block[329..337], 0);
    octal(&mut block[337..345], 0);
    seal(&mut block, b'x');
    out.extend_from_slice(&block);
    out.extend_from_slice(&data);
    append_padding(data.len() as u64, out);
}

/// Puts a path in the name field, or in prefix and name; false when it fits in neither.
fn put_path(block: &mut [u8; BLOCK], path: &[u8]) -> bool {
    if path.len() <= 100 {
        put(&mut block[..100], path);
        return true;
    }
    // The last slash that leaves a prefix of at most 155 bytes, and a name after it.
    let end = path.len().min(156);
    let slash = path[..end].iter().rposition(|&b| b == b'/');
    let Some(slash) = slash.filter(|&at| at > 0 && (1..=100).contains(&(path.len() - at - 1))) else {
        return false;
    };
    put(&mut block[345..500], &path[..slash]);
    put(&mut block[..100], &path[slash + 1..]);
    true
}

fn put(field: &mut [u8], text: &[u8]) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text[..count]);
}

/// Octal digits and a zero byte; false when it does not fit.
fn octal(field: &mut [u8], value: u64) -> bool {
    let (end, mut value) = (field.len() - 1, value);
    for digit in field[..end].iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    field[end] = 0;
    value == 0
}

fn seal(block: &mut [u8; BLOCK], kind: u8) {
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum = block.iter().map(|&b| u64::from(b)).sum();
    octal(&mut block[148..155], sum);
}

/// PAX records in the making.
#[derive(Default)]
struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_vec(), value.to_vec()));
    }

    /// A number in its field, or in a record.
    fn number(&mut self, key: &[u8], field: &mut [u8], value: u64) {
        if !octal(field, value) {
            octal(field, 0);
            self.add(key, value.to_string().as_bytes());
        }
    }

    fn time(&mut self, field: &mut [u8], seconds: i64) {
        if !u64::try_from(seconds).is_ok_and(|seconds| octal(field, seconds)) {
            octal(field, 0);
            self.add(b"mtime", seconds.to_string().as_bytes());
        }
    }

    /// All records, sorted by key.
    fn bytes(mut self) -> Vec<u8> {
        self.0.sort_unstable();
        let mut out = Vec::new();
        for (key, value) in &self.0 {
            // A space, an equals sign and a line feed; then the length of the length itself.
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            out.extend_from_slice(format!("{length} ").as_bytes());
            out.extend_from_slice(&[key.as_slice(), b"=", value.as_slice(), b"\n"].concat());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_count_themselves() {
        for (count, length) in [(1, "9 "), (2, "11 "), (3, "12 "), (90, "99 "), (91, "101 "), (92, "102 ")] {
            let mut records = Records::default();
            records.add(b"path", &vec![b'x'; count]);
            let bytes = records.bytes();
            assert!(bytes.starts_with(length.as_bytes()), "{count}: {}", bytes.escape_ascii());
            assert_eq!(bytes.len(), length.trim().parse::<usize>().unwrap());
        }
    }

    #[test]
    fn a_length_is_that_of_what_is_appended() {
        let long = [b'n'; 101];
        let (a, none, long) = (&b"a"[..], &b""[..], &long[..]);
        let cases = [
            (a, none, 0, 0, 0_i64),
            (&long[..100], &long[..100], (1 << 33) - 1, (1 << 21) - 1, (1 << 33) - 1),
            (long, none, 0, 0, 0),
            (a, long, 0, 0, 0),
            (a, none, 1 << 33, 0, 0),
            (a, none, 0, 1 << 21, 0),
            (a, none, 0, 0, 1 << 33),
            (a, none, 0, 0, -1),
        ];
        for (path, link, size, owner, mtime) in cases {
            let (uid, gid) = (owner, owner);
            let header = Header {
                path,
                link,
                kind: b'0',
                mode: 0o644,
                uid,
                gid,
                mtime,
                size,
                device: (0, 0),
                xattrs: &[],
            };
            let mut out = Vec::new();
            append(&header, &mut out);
            assert_eq!(length(&header, &mut Vec::new()), out.len() as u64, "{size} {owner} {mtime}");
        }
    }

    #[test]
    fn long_paths_are_split_where_they_can_be() {
        let split = |path: &str| put_path(&mut [0; BLOCK], path.as_bytes());
        assert!(split(&"x".repeat(100)));
        assert!(!split(&"x".repeat(101)));
        assert!(split(&format!("{}/{}", "d".repeat(155), "n".repeat(100))));
        assert!(!split(&format!("{}/{}", "d".repeat(156), "n".repeat(10))));
        assert!(!split(&format!("{}/", "d".repeat(120))));
        assert!(!split(&format!("/{}", "n".repeat(100))));
    }
}
