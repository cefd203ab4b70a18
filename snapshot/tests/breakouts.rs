//! The ways out of a root that have worked on somebody (containerd's 34 named cases), each with what must be there
//! afterwards, and beside the root a canary that must not change.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use support::{RawTar, describe, unpack};

/// A root beside something that must never change.
struct Field {
    dir: tempfile::TempDir,
}

impl Field {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root", "etc"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["passwd", "unbroken", "whitedout"] {
            std::fs::write(dir.path().join("etc").join(name), "outside").unwrap();
            std::fs::set_permissions(dir.path().join("etc").join(name), PermissionsExt::from_mode(0o400))
                .unwrap();
        }
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("etc")
    }
}

/// What is in the root before.
type Before = fn(&Path);
/// What the tar says; the path is that of the folder outside.
type Layer = fn(RawTar, &str) -> RawTar;

/// What must be true of the root afterwards.
enum Then {
    /// The tar is refused.
    Refused,
    /// A file has this content.
    Content(&'static str, &'static str),
    /// Two names of one file.
    Same(&'static str, &'static str),
    /// Two names of two files.
    Different(&'static str, &'static str),
    /// Two names of one link, which says the same.
    SameLink(&'static str, &'static str),
    /// Nothing has the name.
    Gone(&'static str),
    /// Whatever it is, it is inside.
    Inside,
}

use Then::{Content, Different, Gone, Inside, Refused, Same, SameLink};

fn nothing(_: &Path) {}

fn passwd(root: &Path) {
    std::fs::create_dir(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/passwd"), "inside").unwrap();
    std::fs::write(root.join("etc/whitedout"), "inside").unwrap();
}

fn with_link(root: &Path) {
    passwd(root);
    symlink("/etc", root.join("localetc")).unwrap();
}

fn with_dead_link(root: &Path) {
    passwd(root);
    symlink("/dne", root.join("localetc")).unwrap();
}

fn with_directory(root: &Path) {
    passwd(root);
    std::fs::create_dir(root.join("localetc")).unwrap();
}

fn with_hard_link(root: &Path) {
    passwd(root);
    symlink("etc", root.join("localetc")).unwrap();
    std::fs::hard_link(root.join("etc/passwd"), root.join("etc/localpasswd")).unwrap();
}

fn etc(tar: RawTar) -> RawTar {
    tar.dir("etc").file("/etc/passwd", "inside")
}

const CASES: &[(&str, Before, Layer, Then)] = &[
    (
        "SymlinkAbsolute",
        nothing,
        |tar, _| tar.dir("etc").symlink("localetc", "/etc").file("/localetc/unbroken", "x"),
        Content("etc/unbroken", "x"),
    ),
    (
        "SymlinkUpAndOut",
        nothing,
        |tar, _| {
            tar.dir("etc").dir("dummy").symlink("localetc", "/dummy/../etc").file("/localetc/unbroken", "x")
        },
        Content("etc/unbroken", "x"),
    ),
    (
        "SymlinkMultipleAbsolute",
        nothing,
        |tar, _| {
            let tar =
                tar.dir("etc").dir("dummy").symlink("/dummy/etc", "/etc").symlink("localetc", "/dummy/etc");
            tar.file("/dummy/etc/unbroken", "x")
        },
        Content("etc/unbroken", "x"),
    ),
    (
        "SymlinkMultipleRelative",
        nothing,
        |tar, _| {
            let tar =
                tar.dir("etc").dir("dummy").symlink("/dummy/etc", "/etc").symlink("localetc", "./dummy/etc");
            tar.file("/dummy/etc/unbroken", "x")
        },
        Content("etc/unbroken", "x"),
    ),
    (
        "SymlinkEmptyFile",
        nothing,
        |tar, _| {
            let tar = tar.dir("etc").file("etc/emptied", "notempty").symlink("localetc", "/etc");
            tar.file("/localetc/emptied", "")
        },
        Content("etc/emptied", ""),
    ),
    (
        "HardlinkRelative",
        nothing,
        |tar, _| {
            etc(tar)
                .dir("breakouts")
                .symlink("breakouts/d1", "../../etc")
                .hard("breakouts/mine", "/breakouts/d1/passwd")
        },
        Same("breakouts/mine", "etc/passwd"),
    ),
    (
        "HardlinkDownAndOut",
        nothing,
        |tar, _| {
            let tar = etc(tar).dir("breakouts").dir("downandout");
            tar.symlink("breakouts/d1", "../downandout/../../etc")
                .hard("breakouts/mine", "/breakouts/d1/passwd")
        },
        Same("breakouts/mine", "etc/passwd"),
    ),
    (
        "HardlinkAbsolute",
        nothing,
        |tar, _| etc(tar).symlink("localetc", "/etc").hard("mine", "/localetc/passwd"),
        Same("mine", "etc/passwd"),
    ),
    (
        "HardlinkRelativeLong",
        nothing,
        |tar, _| etc(tar).symlink("localetc", "../../../../../../../etc").hard("mine", "/localetc/passwd"),
        Same("mine", "etc/passwd"),
    ),
    (
        "HardlinkRelativeUpAndOut",
        nothing,
        |tar, _| {
            etc(tar)
                .dir("upandout")
                .symlink("localetc", "upandout/../../../etc")
                .hard("mine", "/localetc/passwd")
        },
        Same("mine", "etc/passwd"),
    ),
    ("HardlinkDirectRelative", nothing, |tar, _| etc(tar).hard("mine", "../../../../../etc/passwd"), Refused),
    (
        "HardlinkDirectAbsolute",
        nothing,
        |tar, _| etc(tar).hard("mine", "/etc/passwd"),
        Same("mine", "etc/passwd"),
    ),
    (
        "SymlinkParentDirectory",
        nothing,
        |tar, _| etc(tar).symlink("..", "/etc/").hard("mine", "/etc/passwd"),
        Refused,
    ),
    (
        "SymlinkEmptyFilename",
        nothing,
        |tar, _| etc(tar).symlink("", "/etc/").hard("mine", "/etc/passwd"),
        Refused,
    ),
    (
        "SymlinkParentRelative",
        nothing,
        |tar, _| etc(tar).symlink("localetc/sub/..", "/etc/").hard("/localetc/mine", "/etc/passwd"),
        Refused,
    ),
    (
        "SymlinkSlashEnded",
        nothing,
        |tar, _| etc(tar).dir("localetc/").hard("/localetc/mine", "/etc/passwd"),
        Same("localetc/mine", "etc/passwd"),
    ),
    (
        "SymlinkOverrideDirectory",
        with_directory,
        |tar, _| tar.symlink("localetc", "/etc").hard("/localetc/mine", "/etc/passwd"),
        Same("etc/mine", "etc/passwd"),
    ),
    (
        "SymlinkOverrideDirectoryRelative",
        with_directory,
        |tar, _| tar.symlink("localetc", "../../etc").hard("/localetc/mine", "/etc/passwd"),
        Same("etc/mine", "etc/passwd"),
    ),
    (
        "DirectoryOverrideSymlink",
        with_link,
        |tar, _| tar.dir("/localetc/").hard("/localetc/mine", "/etc/passwd"),
        Same("localetc/mine", "etc/passwd"),
    ),
    (
        "DirectoryOverrideSymlinkAndHardlink",
        with_hard_link,
        |tar, _| tar.dir("/localetc/").file("/localetc/localpasswd", "different"),
        Different("localetc/localpasswd", "etc/passwd"),
    ),
    ("WhiteoutRootParent", passwd, |tar, _| tar.file(".wh...", ""), Refused),
    ("WhiteoutParent", passwd, |tar, _| tar.file("etc/.wh...", ""), Refused),
    ("WhiteoutRoot", passwd, |tar, _| tar.file(".wh..", ""), Refused),
    ("WhiteoutCurrentDirectory", passwd, |tar, _| tar.file("etc/.wh..", ""), Refused),
    ("WhiteoutSymlink", with_link, |tar, _| tar.file(".wh.localetc", ""), Gone("localetc")),
    (
        "WhiteoutSymlinkPath",
        with_link,
        |tar, _| tar.file("localetc/.wh.whitedout", ""),
        Gone("etc/whitedout"),
    ),
    ("WhiteoutDirectoryName", with_link, |tar, _| tar.file(".wh.etc/somefile", "x"), Refused),
    (
        "WhiteoutDeadSymlinkParent",
        with_dead_link,
        |tar, _| tar.file("localetc/.wh.etc", ""),
        Content("etc/passwd", "inside"),
    ),
    ("WhiteoutRelativePath", with_dead_link, |tar, _| tar.file("dne/../.wh.etc", ""), Refused),
    (
        "SymlinkOverridePath",
        nothing,
        |tar, _| {
            let tar = tar
                .dir("foo")
                .dir("foo/tmp")
                .file("foo/tmp/x", "1")
                .symlink("foo", "/")
                .file("foo/tmp/x", "2");
            tar.dir("foo").dir("foo/tmp").file("foo/tmp/x", "3")
        },
        Content("foo/tmp/x", "3"),
    ),
    (
        "HardlinkSymlinkBeforeCreateTarget",
        nothing,
        |tar, _| {
            tar.dir("etc")
                .symlink("localpasswd", "/etc/passwd")
                .hard("dup", "localpasswd")
                .file("/etc/passwd", "after")
        },
        SameLink("dup", "localpasswd"),
    ),
    (
        "HardlinkSymlinkRelative",
        nothing,
        |tar, _| etc(tar).symlink("passwdlink", "../../../../../etc/passwd").hard("mine", "/passwdlink"),
        SameLink("mine", "passwdlink"),
    ),
    (
        "HardlinkSymlinkAbsolute",
        nothing,
        |tar, _| etc(tar).symlink("passwdlink", "/etc/passwd").hard("mine", "/passwdlink"),
        SameLink("mine", "passwdlink"),
    ),
    (
        "HardlinkSymlinkChmod",
        nothing,
        |tar, outside| {
            let tar = tar.symlink("sketchy", format!("{outside}/passwd"));
            tar.entry(b'1', "hard", "sketchy", 0o777, b"").entry(b'1', "hard", "sketchy", 0o6777, b"")
        },
        Inside,
    ),
];

#[test]
fn no_known_way_out_is_one() {
    assert_eq!(CASES.len(), 34);
    for (name, before, layer, then) in CASES {
        let field = Field::new();
        before(&field.root());
        let populated = field.root().join("etc/passwd").exists();
        let canary = describe(&field.outside());
        let tar = layer(RawTar::new(), field.outside().to_str().unwrap()).end();
        let result = unpack(&tar, &field.root());
        assert_eq!(describe(&field.outside()), canary, "{name}: something outside changed");
        assert_eq!(
            std::fs::read_dir(field.dir.path()).unwrap().count(),
            2,
            "{name}: something appeared outside"
        );
        match (then, &result) {
            (Inside, _) => {}
            (Refused, Err(_)) => {}
            (Refused, Ok(_)) => panic!("{name} was accepted"),
            (_, Err(error)) => panic!("{name}: {error}"),
            (then, Ok(_)) => check(name, &field.root(), then),
        }
        if matches!(then, Refused) && populated {
            assert_eq!(std::fs::read_to_string(field.root().join("etc/passwd")).unwrap(), "inside", "{name}");
        }
    }
}

fn check(name: &str, root: &Path, then: &Then) {
    let inode = |path: &str| {
        root.join(path).symlink_metadata().unwrap_or_else(|e| panic!("{name}: {path}: {e}")).ino()
    };
    match then {
        Content(path, text) => assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), *text, "{name}"),
        Same(a, b) => assert_eq!(inode(a), inode(b), "{name}"),
        Different(a, b) => assert_ne!(inode(a), inode(b), "{name}"),
        SameLink(a, b) => {
            assert_eq!(inode(a), inode(b), "{name}");
            assert!(root.join(a).is_symlink(), "{name}");
        }
        Gone(path) => {
            assert!(root.join(path).symlink_metadata().is_err(), "{name}: `{path}` is there");
            assert_eq!(std::fs::read_to_string(root.join("etc/passwd")).unwrap(), "inside", "{name}");
        }
        Refused | Inside => {}
    }
}

/// U02: one layer makes links of the directories that the other is writing to.
#[test]
fn two_layers_at_once_do_not_lead_each_other_out() {
    let field = Field::new();
    let canary = describe(&field.outside());
    let outside = field.outside().to_str().unwrap().to_owned();
    let files = (0..20).fold(RawTar::new().dir("d"), |tar, at| tar.dir("d/s").file(format!("d/s/{at}"), "x"));
    let links =
        RawTar::new().symlink("d", &outside).dir("d").symlink("d/s", &outside).file("d/.wh.passwd", "");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    for _ in 0..200 {
        std::thread::scope(|scope| {
            for tar in [files.clone().end(), links.clone().end()] {
                let root = field.root();
                scope.spawn(move || drop(unpack(&tar, &root)));
            }
        });
        assert_eq!(describe(&field.outside()), canary);
        if std::time::Instant::now() > end {
            break;
        }
    }
}
