//! Trees, raw tars and their comparison, for the tests of this crate.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use kiln_snapshot::{Applied, ApplyOptions, Result, Root, apply};
use kiln_sys::fs::{self, xattr};

/// A tar written byte by byte, so that it can be wrong.
#[derive(Default, Clone)]
pub struct RawTar(pub Vec<u8>);

impl RawTar {
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry with any type flag.
    pub fn entry(
        mut self,
        flag: u8,
        path: impl AsRef<[u8]>,
        link: impl AsRef<[u8]>,
        mode: u32,
        data: &[u8],
    ) -> Self {
        self.0.extend_from_slice(&header(flag, path.as_ref(), link.as_ref(), mode, data.len() as u64));
        self.data(data)
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, path: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', path, "", 0o644, data.as_ref())
    }

    pub fn dir(self, path: impl AsRef<[u8]>) -> Self {
        self.entry(b'5', path, "", 0o755, b"")
    }

    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'2', path, target, 0o777, b"")
    }

    pub fn hard(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'1', path, target, 0o644, b"")
    }

    /// A PAX header for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(b'x', "pax", "", 0o644, &data)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub fn header(flag: u8, path: &[u8], link: &[u8], mode: u32, size: u64) -> [u8; 512] {
    let mut block = [0u8; 512];
    block[..path.len()].copy_from_slice(path);
    block[157..157 + link.len()].copy_from_slice(link);
    block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000001750");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut block);
    block
}

/// Makes the checksum of a header fit again.
pub fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|&b| u32::from(b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

pub fn root(path: &Path) -> Root {
    Root::open(path).unwrap()
}

pub fn unpack(tar: &[u8], path: &Path) -> Result<Applied> {
    apply(tar, &root(path), &ApplyOptions::default())
}

/// Everything of a tree that a layer keeps, as text by path. Hard links show the first path of their file.
pub fn describe(path: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut firsts = BTreeMap::new();
    descend(&root(path), b"", &mut all, &mut firsts);
    all
}

fn descend(root: &Root, path: &[u8], all: &mut BTreeMap<String, String>, firsts: &mut BTreeMap<u64, String>) {
    let dir = root.open_dir(Path::new(OsStr::from_bytes(path))).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(dir.as_fd()).unwrap().into_iter().map(|e| e.name.into_vec()).collect();
    names.sort();
    for name in names {
        let mut inner = path.to_vec();
        if !inner.is_empty() {
            inner.push(b'/');
        }
        inner.extend_from_slice(&name);
        let name = Path::new(OsStr::from_bytes(&name));
        let stat = fs::statat(dir.as_fd(), name).unwrap();
        let shown = inner.escape_ascii().to_string();
        let mut text = format!("{:o} {}:{} {}", stat.mode, stat.uid, stat.gid, stat.mtime.seconds);
        if stat.is_file() {
            let data = root.read_limited(Path::new(OsStr::from_bytes(&inner)), 1 << 30).unwrap().unwrap();
            let content = match data.len() {
                0..64 => data.escape_ascii().to_string(),
                _ => kiln_oci::Digest::of(&data).short().to_owned(),
            };
            let first = firsts.entry(stat.ino).or_insert_with(|| shown.clone());
            text += &format!(" = {first} {content}");
        } else if stat.is_symlink() {
            text += &format!(" -> {}", fs::readlinkat(dir.as_fd(), name).unwrap().display());
        } else if !stat.is_dir() {
            text += &format!(" {:?}", stat.rdev);
        }
        if stat.is_dir() || stat.is_file() {
            for key in xattr::list(dir.as_fd(), name).unwrap() {
                let value = xattr::get(dir.as_fd(), name, &key).unwrap().unwrap();
                text += &format!(" {}={}", key.display(), value.escape_ascii());
            }
        }
        all.insert(shown, text);
        if stat.is_dir() {
            descend(root, &inner, all, firsts);
        }
    }
}

/// The paths of a tree with the content of files, without any other metadata.
pub fn contents(path: &Path) -> BTreeMap<String, String> {
    let short = |(path, text): (String, String)| {
        let rest = text.splitn(4, ' ').nth(3).unwrap_or_default();
        let rest = rest
            .strip_prefix("= ")
            .and_then(|rest| rest.split_once(' '))
            .map_or(rest, |(_, content)| content);
        (path, rest.to_owned())
    };
    describe(path).into_iter().map(short).collect()
}

/// Small repeatable random numbers.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Fails with only the paths that differ.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (describe(left), describe(right));
    let differing: Vec<_> = left
        .keys()
        .chain(right.keys())
        .filter(|path| left.get(*path) != right.get(*path))
        .map(|path| (path, left.get(path), right.get(path)))
        .take(5)
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}
