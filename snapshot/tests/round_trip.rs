//! A tree, its tar, and the tree again.

mod support;

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kiln_snapshot::{ApplyOptions, TarOptions, apply, diff_trees, diff_upper, write_tar};
use kiln_sys::fs::{self, Owner, Time, xattr};
use support::{Random, assert_same, describe, root};

const NAMES: [&[u8]; 9] =
    [b"a\nb", b"plain", b"\xff\xfe", b"-rf", b"*", b"with space", b"a-b", b"a", "\u{e9}\u{4e2d}".as_bytes()];

fn name(random: &mut Random, at: u64, names: &[&[u8]]) -> Vec<u8> {
    let mut name = names[random.below(names.len() as u64) as usize].to_vec();
    name.extend_from_slice(at.to_string().as_bytes());
    if random.below(20) == 0 {
        name.resize(255, b'x');
    }
    name
}

/// A random tree, made in the order in which the numbers fall.
fn grow(path: &Path, random: &mut Random, names: &[&[u8]]) {
    let top = root(path);
    let mut dirs = vec![fs::open_dir(top.as_fd(), ".").unwrap()];
    let mut files: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut times = Vec::new();
    for at in 0..120 {
        let place = random.below(dirs.len() as u64) as usize;
        let name = name(random, at, names);
        let path = Path::new(OsStr::from_bytes(&name)).to_owned();
        let dir = dirs[place].as_fd();
        match random.below(12) {
            0..=2 => {
                fs::mkdirat(dir, &path, 0o700).unwrap();
                let made = fs::open_dir(dir, &path).unwrap();
                fs::fchmod(made.as_fd(), [0o755, 0o1777, 0o2750][random.below(3) as usize]).unwrap();
                dirs.push(made);
            }
            3 => fs::symlinkat(
                Path::new(OsStr::from_bytes(&vec![b'l'; 1 + random.below(300) as usize])),
                dir,
                &path,
            )
            .unwrap(),
            4 => fs::mknodat(dir, &path, 0o020_640, fs::makedev(1, 3)).unwrap(),
            5 => fs::mknodat(dir, &path, 0o010_600, 0).unwrap(),
            6 if !files.is_empty() => {
                let (from, first) = &files[random.below(files.len() as u64) as usize];
                fs::linkat(dirs[*from].as_fd(), OsStr::from_bytes(first), dir, &path).unwrap();
            }
            _ => {
                let file = fs::create_file(dir, &path, 0o600).unwrap();
                let size = [0, 1, 511, 512, 513, 70_000, 700_000][random.below(7) as usize];
                let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + at as usize) as u8).collect();
                std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
                let owner = [(0, 0), (1000, 100), (3_000_000, 4_000_000_000)][random.below(3) as usize];
                fs::fchown(file.as_fd(), Owner { uid: owner.0, gid: owner.1 }).unwrap();
                fs::fchmod(file.as_fd(), [0o644, 0o4755, 0o666, 0][random.below(4) as usize]).unwrap();
                if random.below(3) == 0 {
                    xattr::set(dir, &path, OsStr::new("user.note"), b"x=\n\0y").unwrap();
                }
                files.push((place, name));
            }
        }
        times.push((place, path, random.below(4_000_000_000) as i64 - 1_000_000_000));
    }
    for (place, path, seconds) in times.into_iter().rev() {
        let time = Some(Time { seconds, nanoseconds: 0 });
        fs::utimensat(dirs[place].as_fd(), &path, time, time).unwrap();
    }
}

fn tar_of(path: &Path) -> Vec<u8> {
    let tree = root(path);
    let mut tar = Vec::new();
    let changes = diff_upper(&tree).unwrap();
    let stats = write_tar(&changes, &tree, &mut tar, &TarOptions::default()).unwrap();
    assert_eq!(stats.bytes, tar.len() as u64);
    tar
}

#[test]
fn random_trees_survive() {
    for seed in 0..6 {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        grow(from.path(), &mut Random(seed), &NAMES);
        let tar = tar_of(from.path());
        for writers in [0, 2] {
            let inner = to.path().join(writers.to_string());
            std::fs::create_dir(&inner).unwrap();
            let options = ApplyOptions { fresh: true, writers, ..ApplyOptions::default() };
            apply(tar.as_slice(), &root(&inner), &options).unwrap();
            assert_same(from.path(), &inner);
            assert!(tar_of(&inner) == tar, "seed {seed}: packing again gives other bytes");
        }
        let again = diff_trees(Some(&root(from.path())), &root(&to.path().join("0"))).unwrap();
        assert!(again.is_empty(), "seed {seed}: {} changes", again.len());
    }
}

#[test]
fn another_reader_agrees() {
    let from = tempfile::tempdir().unwrap();
    // The `tar` crate ends a PAX record at a line feed in its value.
    grow(from.path(), &mut Random(77), &NAMES[1..]);
    let tar = tar_of(from.path());
    let mut seen = 0;
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let path = from.path().join(OsStr::from_bytes(&path));
        if entry.header().entry_type().is_file() {
            let mut data = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut data).unwrap();
            assert!(std::fs::read(&path).unwrap() == data);
        }
        assert!(path.symlink_metadata().is_ok(), "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, describe(from.path()).len());
}

#[test]
fn the_same_tree_made_otherwise_is_the_same_tar() {
    let make = |names: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, name).unwrap();
        }
        for path in ["b/c/z", "b/c", "b", "b-", "a"] {
            let time = Some(Time { seconds: 5, nanoseconds: 999 });
            fs::utimensat(fs::CWD, dir.path().join(path), time, time).unwrap();
        }
        tar_of(dir.path())
    };
    let tar = make(&["a", "b-", "b/c/z"]);
    assert!(tar == make(&["b/c/z", "b-", "a"]));
    let names: Vec<_> = tar::Archive::new(tar.as_slice())
        .entries()
        .unwrap()
        .map(|e| String::from_utf8(e.unwrap().path_bytes().into_owned()).unwrap())
        .collect();
    assert_eq!(names, ["a", "b/", "b/c/", "b/c/z", "b-"]);
}

#[test]
fn times_are_clamped_and_fractions_cut() {
    let dir = tempfile::tempdir().unwrap();
    for (name, seconds) in [("old", 5), ("new", 500)] {
        std::fs::write(dir.path().join(name), "").unwrap();
        let time = Some(Time { seconds, nanoseconds: 999_999_999 });
        fs::utimensat(fs::CWD, dir.path().join(name), time, time).unwrap();
    }
    let tree = root(dir.path());
    let mut tar = Vec::new();
    write_tar(
        &diff_upper(&tree).unwrap(),
        &tree,
        &mut tar,
        &TarOptions { clamp_mtime: Some(100), ..TarOptions::default() },
    )
    .unwrap();
    let times: Vec<_> = tar::Archive::new(tar.as_slice())
        .entries()
        .unwrap()
        .map(|e| e.unwrap().header().mtime().unwrap())
        .collect();
    assert_eq!(times, [100, 5]);
}

#[test]
fn a_file_that_changed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "one").unwrap();
    let tree = root(dir.path());
    let changes = diff_upper(&tree).unwrap();
    std::fs::write(dir.path().join("file"), "three").unwrap();
    let error = write_tar(&changes, &tree, std::io::sink(), &TarOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "`file` changed while it was read");
    std::fs::remove_file(dir.path().join("file")).unwrap();
    let error = write_tar(&changes, &tree, std::io::sink(), &TarOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "`file` changed while it was read");
}

#[test]
fn a_file_named_as_a_whiteout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/.wh.passwd"), "").unwrap();
    let error = diff_upper(&root(dir.path())).unwrap_err();
    assert!(error.to_string().contains("`etc/.wh.passwd`"), "{error}");
}

#[test]
fn deep_trees_are_walked_and_deeper_ones_refused() {
    let grow = |depth: usize| {
        let dir = tempfile::tempdir().unwrap();
        let mut here = fs::open_dir(root(dir.path()).as_fd(), ".").unwrap();
        for _ in 0..depth {
            fs::mkdirat(here.as_fd(), "d", 0o755).unwrap();
            here = fs::open_dir(here.as_fd(), "d").unwrap();
        }
        dir
    };
    let deep = grow(500);
    assert_eq!(diff_upper(&root(deep.path())).unwrap().len(), 500);
    let error = diff_upper(&root(grow(600).path())).unwrap_err();
    assert!(error.to_string().contains("deeper than 512"), "{error}");
}
