//! Files with holes, in every form that `tar -S` writes, and maps that lie.

mod support;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use kiln_snapshot::{ApplyOptions, apply};
use support::{RawTar, assert_same, root, unpack};

/// The options of `tar` for each form.
const FORMS: [&[&str]; 4] = [
    &["--format=gnu"],
    &["--format=pax", "--sparse-version=0.0"],
    &["--format=pax", "--sparse-version=0.1"],
    &["--format=pax", "--sparse-version=1.0"],
];
const MIB: u64 = 1 << 20;

/// Files whose holes are at their start, end and middle, many and few.
fn holes(dir: &Path) {
    let make = |name: &str, size: u64, pieces: &mut dyn Iterator<Item = (u64, usize)>| {
        let file = File::create(dir.join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, length) in pieces {
            let data: Vec<u8> = (0..length).map(|at| (at % 251) as u8 + 1).collect();
            file.write_all_at(&data, offset).unwrap();
        }
    };
    make("a-many", 6 * MIB, &mut (0..90).map(|at| (at * (MIB / 16) + 4096, 4096)));
    make("a-large-piece", 4 * MIB, &mut [(2 * MIB, 1 << 20)].into_iter());
    make("empty", MIB, &mut std::iter::empty());
    make("ends-with-content", MIB, &mut [(MIB - 5, 5)].into_iter());
    make(&format!("a-long-name-{}", "n".repeat(150)), MIB, &mut [(0, 1)].into_iter());
    make("no-hole", 5, &mut [(0, 5)].into_iter());
}

fn tar(dir: &Path, form: &[&str]) -> Vec<u8> {
    let out =
        Command::new("tar").args(form).args(["-S", "-cf", "-", "-C"]).arg(dir).arg(".").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[test]
fn every_form_is_read_and_holes_stay_holes() {
    let dir = tempfile::tempdir().unwrap();
    holes(dir.path());
    for form in FORMS {
        let tar = tar(dir.path(), form);
        assert!((tar.len() as u64) < 2 * MIB, "{form:?} has no holes");
        for writers in [0, 2] {
            let to = tempfile::tempdir().unwrap();
            let options = ApplyOptions { fresh: true, writers, ..ApplyOptions::default() };
            let applied = apply(tar.as_slice(), &root(to.path()), &options).unwrap();
            assert_same(dir.path(), to.path());
            assert_eq!(applied.bytes, 13 * MIB + 5, "{form:?}");
            let on_disk = to.path().join("a-many").metadata().unwrap().blocks() * 512;
            assert!(on_disk < MIB, "{form:?} filled the holes: {on_disk}");
        }
    }
}

/// An old header with one piece in its map.
fn old(offset: u64, length: u64, size: u64, data: &[u8]) -> RawTar {
    let mut block = support::header(b'S', b"f", b"", 0o644, data.len() as u64);
    for (at, number) in [(386, offset), (398, length), (483, size)] {
        block[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    }
    support::sum(&mut block);
    RawTar(block.to_vec()).data(data)
}

fn version_1(size: &str, content: &[u8]) -> RawTar {
    let records = [("major", "1"), ("minor", "0"), ("realsize", size), ("name", "f")];
    let records = records.map(|(key, value)| (format!("GNU.sparse.{key}"), value));
    let records: Vec<_> = records.iter().map(|(key, value)| (key.as_str(), value.as_bytes())).collect();
    RawTar::new().pax(&records).file("GNUSparseFile.1/f", content)
}

fn padded(map: &str, data: &[u8]) -> Vec<u8> {
    let mut content = map.as_bytes().to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    content.extend_from_slice(data);
    content
}

#[test]
fn maps_that_lie_are_refused_and_take_no_room() {
    let huge = (1u64 << 60).to_string();
    let mut endless = version_1("9", &vec![b'1'; 2 << 20]).0;
    endless.truncate(3 << 20);
    let cases = [
        ("a hole of 2^60", version_1(&huge, &padded("0\n", b""))),
        ("ten holes of 7 GiB", RawTar(old(0, 1, 7 << 30, b"x").0.repeat(10))),
        ("beyond its end", old(5, 3, 6, b"abc")),
        ("more than is stored", old(0, 9, 9, b"abc")),
        ("less than is stored", old(0, 1, 9, b"abc")),
        ("out of order", version_1("99", &padded("2\n50\n1\n0\n1\n", b"ab"))),
        ("a map without end", version_1("99", &padded("9\n0\n1\n", b""))),
        ("a map of megabytes", RawTar(endless)),
        ("not a number", version_1("99", &padded("one\n", b""))),
        ("an unknown version", RawTar::new().pax(&[("GNU.sparse.major", b"2")]).file("f", "")),
        ("no size", RawTar::new().pax(&[("GNU.sparse.map", b"0,1")]).file("f", "x")),
        (
            "in a global header",
            RawTar::new().entry(b'g', "g", "", 0, b"22 GNU.sparse.major=1\n").file("f", ""),
        ),
    ];
    for (name, tar) in cases {
        let dir = tempfile::tempdir().unwrap();
        let error = unpack(&tar.end(), dir.path()).expect_err(name);
        let used: u64 = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512)
            .sum();
        assert!(used < MIB, "{name}: {error}: {used} bytes are on the disk");
    }
}

/// A map concerns a file: on anything else it is ignored with the content.
#[test]
fn a_directory_has_no_holes() {
    let dir = tempfile::tempdir().unwrap();
    let tar = RawTar::new().pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")]).dir("d");
    unpack(&tar.end(), dir.path()).unwrap();
    assert!(dir.path().join("d").is_dir());
}
