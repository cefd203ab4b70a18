//! Hostile and odd layers: nothing outside the root changes, and what is inside is what the layer may say.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_snapshot::{ApplyOptions, apply};
use support::{RawTar, contents, describe, header, root, sum, unpack};

/// A root beside a directory that must never change.
struct Field {
    dir: tempfile::TempDir,
    before: std::collections::BTreeMap<String, String>,
}

impl Field {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        std::fs::create_dir_all(canary.join("sub")).unwrap();
        std::fs::write(canary.join("file"), "untouched").unwrap();
        std::fs::write(canary.join("x"), "untouched").unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let before = describe(&canary);
        Self { dir, before }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn canary(&self) -> String {
        self.dir.path().join("canary").to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(describe(&self.dir.path().join("canary")), self.before, "the canary changed");
        let names = std::fs::read_dir(self.dir.path()).unwrap().count();
        assert_eq!(names, 2, "something appeared beside the root");
    }
}

/// Layers that try to leave through every kind of link, for each of which nothing may happen outside.
#[test]
fn no_kind_of_link_leads_out() {
    let field = Field::new();
    let canary = field.canary();
    let up = "../canary".to_owned();
    let magic = format!("/proc/self/root{canary}");
    for (number, target) in [canary, up, format!("../../../../../..{magic}"), magic].into_iter().enumerate() {
        let link = |name: &str| RawTar::new().symlink(name, &target);
        let attacks = [
            link("l").file("l/file", "evil"),
            link("l").file("l", "evil"),
            link("l").dir("l").file("l/file", "evil"),
            link("l").dir("l/sub").file("l/sub/new", "evil"),
            link("l").hard("h", "l/file").entry(b'0', "h", "", 0o777, b"evil"),
            link("l").hard("h", "l").file("h/file", "evil"),
            link("l").symlink("l/file", "evil"),
            link("l").entry(b'6', "l/fifo", "", 0o666, b""),
            link("l").file("l/.wh.x", ""),
            link("l").file("l/.wh..wh..opq", ""),
            link("l").file("l/sub/../.wh.x", ""),
            link("a").symlink("b", "a").symlink("c", "b").file("c/file", "evil"),
            RawTar::new().dir("d").symlink("d/l", &target).file("d/l/file", "evil"),
            RawTar::new().symlink("l", format!("{target}/file")).file("l", "evil").hard("h", "l"),
            RawTar::new()
                .symlink("l", format!("{target}/file"))
                .hard("h", "l")
                .entry(b'5', "h", "", 0o777, b""),
        ];
        for (at, attack) in attacks.into_iter().enumerate() {
            let inner = field.root().join(format!("{number}-{at}"));
            std::fs::create_dir(&inner).unwrap();
            // Inside or refused, both are fine.
            let _ = unpack(&attack.end(), &inner);
            field.check();
        }
    }
}

#[test]
fn links_that_were_there_before_do_not_lead_out_either() {
    let field = Field::new();
    symlink(field.canary(), field.root().join("l")).unwrap();
    symlink("../canary/file", field.root().join("f")).unwrap();
    let tar =
        RawTar::new().file("l/file", "evil").file("f", "evil").file("l/.wh.x", "").file("l/.wh..wh..opq", "");
    unpack(&tar.end(), &field.root()).unwrap();
    field.check();
    let inside = field.root().join(field.canary().trim_start_matches('/')).join("file");
    assert!(inside.exists(), "an opaque marker in the same layer keeps what the layer wrote: {inside:?}");
}

#[test]
fn names_that_climb_are_refused() {
    let field = Field::new();
    for path in ["../x", "a/../../x", "./../", "..", "a/..", "/../x", "../root/x"] {
        let error = unpack(&RawTar::new().file(path, "evil").end(), &field.root()).unwrap_err();
        assert!(error.to_string().contains("`..`"), "{error}");
        field.check();
    }
    let error =
        unpack(&RawTar::new().file("a", "").hard("h", "../canary/file").end(), &field.root()).unwrap_err();
    assert!(error.to_string().contains("`..`"), "{error}");
    let cwd_secret = RawTar::new().hard("h", "Cargo.toml").end();
    let error = unpack(&cwd_secret, &field.root()).unwrap_err();
    assert!(error.to_string().contains("hard link to `Cargo.toml`"), "{error}");
    let path = vec![b'p'; 5000];
    assert!(unpack(&RawTar::new().pax(&[("path", &path)]).file("x", "").end(), &field.root()).is_err());
    assert!(unpack(&RawTar::new().pax(&[("path", b"a\0b")]).file("x", "").end(), &field.root()).is_err());
    let deep = "d/".repeat(300);
    unpack(&RawTar::new().pax(&[("path", deep.as_bytes())]).dir("x").end(), &field.root()).unwrap();
    field.check();
}

#[test]
fn the_root_stays_a_directory() {
    for path in ["", ".", "/", "./"] {
        for flag in *b"0236" {
            let field = Field::new();
            let error = unpack(&RawTar::new().entry(flag, path, "/tmp", 0o644, b"").end(), &field.root());
            // An ordinary file whose name ends in a slash is a directory of old.
            assert!(error.is_err() || flag == b'0' && path.ends_with('/'), "{path:?} {flag}");
            assert!(field.root().symlink_metadata().unwrap().is_dir());
        }
    }
    let field = Field::new();
    unpack(&RawTar::new().entry(b'5', "./", "", 0o711, b"").end(), &field.root()).unwrap();
    assert_eq!(field.root().metadata().unwrap().mode() & 0o7777, 0o711);
}

/// What lower layers have.
fn populated() -> Field {
    let field = Field::new();
    for path in ["d/old/deep", "d/both", "keep"] {
        std::fs::create_dir_all(field.root().join(path)).unwrap();
    }
    for path in ["d/f", "d/old/deep/f", "d/both/old", "keep/f", "f"] {
        std::fs::write(field.root().join(path), "lower").unwrap();
    }
    field
}

fn paths(field: &Field) -> Vec<String> {
    describe(&field.root()).into_keys().collect()
}

#[test]
fn whiteouts_delete_what_lower_layers_have() {
    let field = populated();
    let tar =
        RawTar::new().file("d/.wh.old", "").file(".wh.f", "").file("gone/.wh.x", "").file("d/.wh.none", "");
    unpack(&tar.end(), &field.root()).unwrap();
    assert_eq!(paths(&field), ["d", "d/both", "d/both/old", "d/f", "keep", "keep/f"]);
    for bad in [".wh.", "d/.wh..", "d/.wh...", "keep/.wh.../f", "d/.wh..wh.x"] {
        assert!(unpack(&RawTar::new().file(bad, "").end(), &field.root()).is_err(), "{bad}");
    }
    assert_eq!(paths(&field), ["d", "d/both", "d/both/old", "d/f", "keep", "keep/f"]);
    field.check();
}

#[test]
fn an_opaque_directory_keeps_what_its_layer_writes_in_any_order() {
    let opaque = |tar: RawTar| tar.file("d/.wh..wh..opq", "");
    let files = |tar: RawTar| tar.dir("d/both").file("d/both/new", "upper").file("d/f", "upper");
    let orders = [
        files(opaque(RawTar::new().dir("d"))),
        opaque(files(RawTar::new().dir("d"))),
        opaque(files(RawTar::new())).dir("d"),
        opaque(RawTar::new().file("d/f", "upper")).dir("d/both").file("d/both/new", "upper"),
    ];
    for (at, tar) in orders.into_iter().enumerate() {
        for writers in [0, 2] {
            let field = populated();
            let options = ApplyOptions { writers, ..ApplyOptions::default() };
            apply(tar.clone().end().as_slice(), &root(&field.root()), &options).unwrap();
            let tree = contents(&field.root());
            let names: Vec<_> = tree.keys().map(String::as_str).collect();
            assert_eq!(names, ["d", "d/both", "d/both/new", "d/f", "f", "keep", "keep/f"], "order {at}");
            assert_eq!(tree["d/f"], "upper", "order {at}");
        }
    }
}

#[test]
fn a_whiteout_spares_its_own_layer() {
    let field = populated();
    let tar = RawTar::new().file("d/new", "upper").file("f", "upper").file(".wh.f", "").file(".wh.d", "");
    unpack(&tar.end(), &field.root()).unwrap();
    assert_eq!(paths(&field), ["d", "d/new", "f", "keep", "keep/f"]);
}

/// Every change of kind at one path, twice: the last entry is what is there, and no link was followed.
#[test]
fn the_last_of_several_entries_wins() {
    type Step = fn(RawTar) -> RawTar;
    let kinds: [(&str, Step); 5] = [
        ("file", |tar| tar.file("p", "last")),
        ("directory", |tar| tar.dir("p").file("p/inner", "x")),
        ("link", |tar| tar.symlink("p", "other")),
        ("hard", |tar| tar.hard("p", "other")),
        ("fifo", |tar| tar.entry(b'6', "p", "", 0o600, b"")),
    ];
    let all = |from: Vec<Vec<usize>>| -> Vec<Vec<usize>> {
        from.iter().flat_map(|row| (0..kinds.len()).map(|kind| [row.as_slice(), &[kind]].concat())).collect()
    };
    for order in all(all(all(vec![vec![]]))) {
        for fresh in [true, false] {
            let field = Field::new();
            let tar =
                order.iter().fold(RawTar::new().file("other", "other"), |tar, kind| kinds[*kind].1(tar));
            let options = ApplyOptions { fresh, ..ApplyOptions::default() };
            let names: Vec<&str> = order.iter().map(|kind| kinds[*kind].0).collect();
            apply(tar.file("z", "").end().as_slice(), &root(&field.root()), &options)
                .unwrap_or_else(|error| panic!("{names:?}: {error}"));
            let meta = field.root().join("p").symlink_metadata().unwrap();
            let kind = match &meta {
                meta if meta.is_dir() => "directory",
                meta if meta.is_symlink() => "link",
                meta if !meta.is_file() => "fifo",
                meta if meta.nlink() == 2 => "hard",
                _ => "file",
            };
            assert_eq!(kind, names[2], "{names:?}");
            assert_eq!(std::fs::read_to_string(field.root().join("other")).unwrap(), "other");
            field.check();
        }
    }
}

#[test]
fn two_names_of_one_place_are_one_place() {
    for writers in [0, 2] {
        let field = Field::new();
        let mut tar = RawTar::new().dir("real").symlink("alias", "real");
        for at in 0..200 {
            tar = tar.file(format!("real/{at}"), "first").file(format!("alias/{at}"), "second");
        }
        let options = ApplyOptions { fresh: true, writers, ..ApplyOptions::default() };
        apply(tar.end().as_slice(), &root(&field.root()), &options).unwrap();
        for at in 0..200 {
            assert_eq!(std::fs::read_to_string(field.root().join(format!("real/{at}"))).unwrap(), "second");
        }
    }
}

/// On a file system that ignores case, `A` is there when `a` was made. A root that should be empty and is not is the same
/// to whoever unpacks.
#[test]
fn two_names_that_the_file_system_takes_for_one_are_refused() {
    let kinds: [fn(RawTar) -> RawTar; 5] = [
        |tar| tar.file("p", "x"),
        |tar| tar.dir("p"),
        |tar| tar.symlink("p", "x"),
        |tar| tar.hard("p", "other"),
        |tar| tar.entry(b'6', "p", "", 0o600, b""),
    ];
    for (kind, entry) in kinds.into_iter().enumerate() {
        for directory in [true, false] {
            let field = Field::new();
            let there = field.root().join("p");
            match directory {
                true => std::fs::create_dir(&there).unwrap(),
                false => std::fs::write(&there, "first").unwrap(),
            }
            let tar = entry(RawTar::new().file("other", "")).end();
            let options = ApplyOptions { fresh: true, ..ApplyOptions::default() };
            let error = apply(tar.as_slice(), &root(&field.root()), &options).unwrap_err().to_string();
            assert!(error.contains("another file's name"), "{kind}: {error}");
            assert!(directory || std::fs::read_to_string(&there).unwrap() == "first", "{kind}");
        }
    }
}

#[test]
fn attributes_and_special_bits_follow_the_table() {
    let field = Field::new();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let tar = RawTar::new()
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.note", b"kept"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("uid", b"1000"),
            ("gid", b"70000"),
        ])
        .entry(b'0', "f", "", 0o4755, b"x")
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")])
        .dir("d");
    unpack(&tar.end(), &field.root()).unwrap();
    let tree = describe(&field.root());
    assert!(tree["f"].starts_with("104755 1000:70000"), "{}", tree["f"]);
    assert!(
        tree["f"].contains("user.note=kept") && tree["f"].contains("security.capability="),
        "{}",
        tree["f"]
    );
    for text in tree.values() {
        assert!(!text.contains("overlay") && !text.contains("selinux"), "{text}");
    }
}

#[test]
fn a_device_that_overlayfs_takes_for_a_deletion_is_refused() {
    let field = Field::new();
    let error = unpack(&RawTar::new().entry(b'3', "dev", "", 0o600, b"").end(), &field.root()).unwrap_err();
    assert!(error.to_string().contains("device 0:0"), "{error}");
}

#[test]
fn malformed_tars_are_errors_at_once() {
    let mut checksum = RawTar::new().file("x", "y").end();
    checksum[0] = b'z';
    let mut huge = header(b'0', b"x", b"", 0o644, 0).to_vec();
    huge[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    sum(&mut huge);
    let mut negative = huge.clone();
    negative[124..136].fill(0xff);
    sum(&mut negative);
    let whole = RawTar::new().file("x", [7; 5000]).end();
    let records = |records: &[(&str, &[u8])]| RawTar::new().pax(records).file("x", "y").end();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("checksum", checksum),
        ("huge size", huge),
        ("negative size", negative),
        ("truncated content", whole[..3000].to_vec()),
        ("truncated header", whole[..300].to_vec()),
        ("negative pax size", records(&[("size", b"-5")])),
        ("largest pax size", records(&[("size", b"9223372036854775807")])),
        ("sparse", records(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"1152921504606846976")])),
        ("long link", records(&[("linkpath", &[b'l'; 4096])])),
        ("global path", RawTar::new().entry(b'g', "g", "", 0, b"9 path=x\n").file("y", "").end()),
        ("trailing data", [RawTar::new().file("x", "").end(), RawTar::new().file("y", "").end()].concat()),
        ("owner -1", records(&[("uid", b"4294967295")])),
        ("a file as a directory", RawTar::new().file("x", "").file("x/y", "").end()),
        ("a link to itself", RawTar::new().symlink("x", "x").file("x/y", "").end()),
    ];
    for (name, tar) in cases {
        let field = Field::new();
        let start = Instant::now();
        let result = unpack(&tar, &field.root());
        assert!(result.is_err(), "{name} was accepted");
        assert!(start.elapsed() < Duration::from_secs(1), "{name} took {:?}", start.elapsed());
        field.check();
    }
}

#[test]
fn extended_headers_have_a_limit() {
    let field = Field::new();
    let mut tar = header(b'x', b"pax", b"", 0o644, 8 << 20).to_vec();
    tar.resize(tar.len() + (8 << 20), b'1');
    let error = unpack(&tar, &field.root()).unwrap_err();
    assert!(error.to_string().contains("extended header"), "{error}");
}

#[test]
fn many_links_and_wide_trees_are_fine() {
    let field = Field::new();
    let mut tar = RawTar::new().file("first", "x");
    for at in 0..3000 {
        tar = tar.hard(format!("links/{at}"), "first");
    }
    for at in 0..600 {
        tar = tar.dir(format!("dirs/{at}/inner")).file(format!("dirs/{at}/inner/f"), "x");
    }
    let applied = unpack(&tar.end(), &field.root()).unwrap();
    assert_eq!(applied.entries, 4201);
    assert_eq!(field.root().join("first").metadata().unwrap().nlink(), 3001);
    assert_eq!(field.root().join("dirs/599").metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    let time = field.root().join("dirs/0/inner").metadata().unwrap().mtime();
    assert_eq!(time, 0o1750, "the time of a directory is not that of its last change");
}

/// A directory of the tree is swapped for a link all the time while a layer is unpacked into it.
#[test]
fn a_tree_that_changes_meanwhile_cannot_lead_out() {
    let field = Field::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, aside) = (field.root().join("d"), field.root().join("aside"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::fs::rename(&dir, &aside);
                let _ = symlink(field.canary(), &dir);
                let _ = std::fs::remove_file(&dir);
                let _ = std::fs::rename(&aside, &dir);
            }
        });
        for _ in 0..150 {
            let tar = RawTar::new()
                .dir("d")
                .dir("d/sub")
                .file("d/sub/evil", "x")
                .file("d/file", "x")
                .file("d/.wh.x", "");
            let _ = unpack(&tar.end(), &field.root());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    field.check();
}

#[test]
fn an_unpacked_archive_follows_links_only_inside() {
    let field = Field::new();
    std::fs::create_dir(field.root().join("real")).unwrap();
    symlink("/real", field.root().join("app")).unwrap();
    unpack(&RawTar::new().file("app/x", "inside").end(), &field.root()).unwrap();
    assert_eq!(std::fs::read_to_string(field.root().join("real/x")).unwrap(), "inside");
    assert!(Path::new(&field.root().join("app")).is_symlink());
}
