//! Copies and checksums of trees.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use kiln_snapshot::checksum::{ChecksumOptions, Listing, checksum};
use kiln_snapshot::copy::{CopyOptions, Parents, copy, copy_listed};
use kiln_snapshot::filter::Verdict;
use kiln_snapshot::{Error, Result, copy::Copied};
use kiln_sys::fs::Owner;
use support::{assert_same, describe, root};

const ROOT: Owner = Owner { uid: 0, gid: 0 };

fn options() -> CopyOptions<'static> {
    CopyOptions {
        owner: Some(ROOT),
        parents: Some(Parents { mode: 0o755, owner: ROOT }),
        named: false,
        merge_metadata: false,
        ..CopyOptions::exact()
    }
}

struct Trees {
    dir: tempfile::TempDir,
}

impl Trees {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for path in ["from/tree/sub", "to"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let tree = dir.path().join("from/tree");
        std::fs::write(tree.join("file"), "content").unwrap();
        std::fs::write(tree.join("sub/big"), vec![3; 600_000]).unwrap();
        std::fs::hard_link(tree.join("file"), tree.join("sub/again")).unwrap();
        symlink("file", tree.join("link")).unwrap();
        std::os::unix::fs::chown(tree.join("sub/big"), Some(5), Some(6)).unwrap();
        std::fs::set_permissions(tree.join("sub"), PermissionsExt::from_mode(0o2711)).unwrap();
        Self { dir }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    fn copy(&self, from: &str, to: &str, options: &CopyOptions<'_>) -> Result<Copied> {
        copy(&root(&self.path("from")), Path::new(from), &root(&self.path("to")), Path::new(to), options)
    }
}

#[test]
fn an_exact_copy_is_the_same_tree() {
    let trees = Trees::new();
    let copied = trees.copy("tree", "", &CopyOptions::exact()).unwrap();
    assert_eq!(copied.entries, 6);
    assert_same(&trees.path("from/tree"), &trees.path("to"));
    assert_eq!(trees.path("to/file").metadata().unwrap().nlink(), 2);
}

#[test]
fn directories_take_metadata_below_the_destination_only() {
    let trees = Trees::new();
    std::fs::create_dir_all(trees.path("to/dest/sub")).unwrap();
    std::fs::set_permissions(trees.path("to/dest"), PermissionsExt::from_mode(0o700)).unwrap();
    trees.copy("tree", "/dest/", &options()).unwrap();
    assert_eq!(trees.path("to/dest").metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(trees.path("to/dest/sub").metadata().unwrap().mode() & 0o7777, 0o2711);
    assert_eq!(trees.path("to/dest/sub/big").metadata().unwrap().uid(), 0);
    trees.copy("tree", "/new/deep", &options()).unwrap();
    assert_eq!(trees.path("to/new/deep").metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_file_becomes_its_destination_or_goes_into_it() {
    let trees = Trees::new();
    std::fs::create_dir(trees.path("to/there")).unwrap();
    symlink("/there", trees.path("to/link")).unwrap();
    for (to, at) in [("a/b", "a/b"), ("c/", "c/file"), ("there", "there/file"), ("/link", "there/file")] {
        trees.copy("tree/file", to, &options()).unwrap();
        assert_eq!(std::fs::read_to_string(trees.path("to").join(at)).unwrap(), "content", "{to}");
    }
    assert!(trees.path("to/link").is_symlink());
    assert!(trees.copy("tree/file", "x/y", &CopyOptions { parents: None, ..options() }).is_err());
    let error = trees.copy("tree/none", "x", &options()).unwrap_err();
    assert!(error.to_string().contains("`tree/none`"), "{error}");
}

#[test]
fn directories_and_files_do_not_replace_each_other() {
    let trees = Trees::new();
    std::fs::create_dir_all(trees.path("to/a/file")).unwrap();
    std::fs::create_dir_all(trees.path("to/b")).unwrap();
    std::fs::write(trees.path("to/b/sub"), "in the way").unwrap();
    for to in ["a", "b", "b/sub"] {
        let error = trees.copy("tree", to, &options()).unwrap_err();
        assert!(matches!(error, Error::CopyConflict { .. }), "{to}: {error}");
    }
}

#[test]
fn links_of_the_destination_stay_inside() {
    let trees = Trees::new();
    std::fs::create_dir(trees.path("canary")).unwrap();
    symlink("../canary", trees.path("to/up")).unwrap();
    symlink(trees.path("canary"), trees.path("to/absolute")).unwrap();
    for to in ["up", "absolute", "up/x", "../canary/x"] {
        let _ = trees.copy("tree", to, &options());
        let _ = trees.copy("tree/file", to, &options());
    }
    assert_eq!(describe(&trees.path("canary")).len(), 0);
    std::fs::create_dir(trees.path("to/d")).unwrap();
    symlink(trees.path("canary"), trees.path("to/d/sub")).unwrap();
    assert!(matches!(trees.copy("tree", "d", &options()).unwrap_err(), Error::CopyConflict { .. }));
    assert_eq!(describe(&trees.path("canary")).len(), 0);
}

#[test]
fn filters_and_modes() {
    let trees = Trees::new();
    let only_big =
        |path: &[u8], _: bool| if path.ends_with(b"big") { Verdict::Take } else { Verdict::Descend };
    let mode = |mode: u32, is_dir: bool| if is_dir { mode } else { 0o600 };
    let all = CopyOptions { filter: Some(&only_big), mode: Some(&mode), mtime: Some(7), ..options() };
    trees.copy("tree", "x", &all).unwrap();
    let names: Vec<_> = describe(&trees.path("to/x")).into_keys().collect();
    assert_eq!(names, ["sub", "sub/big"]);
    assert_eq!(trees.path("to/x/sub/big").metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(trees.path("to/x/sub/big").metadata().unwrap().mtime(), 7);
}

/// What was listed is what is copied, or it is an error: a digest may be remembered of it.
#[test]
fn what_was_listed_is_copied() {
    let trees = Trees::new();
    std::fs::File::create(trees.path("from/tree/holes")).unwrap().set_len(4 << 20).unwrap();
    let from = root(&trees.path("from"));
    let options = ChecksumOptions::default();
    let mut listed = Listing::of(&from, Path::new("tree"), &options).unwrap().unwrap();
    listed.read(&from, &options).unwrap();
    let copy = |listed: &Listing, to: &str| {
        let to_root = root(&trees.path("to"));
        copy_listed(&from, listed, &to_root, Path::new(to), &CopyOptions::exact())
    };
    copy(&listed, "same").unwrap();
    assert_same(&trees.path("from/tree"), &trees.path("to/same"));
    let holes = trees.path("to/same/holes").metadata().unwrap();
    assert!(holes.blocks() * 512 < 1 << 20, "{} blocks", holes.blocks());
    std::fs::write(trees.path("from/tree/new"), "since").unwrap();
    copy(&listed, "known").unwrap();
    assert!(!trees.path("to/known/new").exists());
    // Only the bytes say that this is not it.
    let file = trees.path("from/tree/file");
    let time = file.metadata().unwrap().modified().unwrap();
    let mut edited = std::fs::read(&file).unwrap();
    edited[0] ^= 0x20;
    std::fs::write(&file, edited).unwrap();
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(time).unwrap();
    assert_eq!(copy(&listed, "edited").unwrap_err().to_string(), "`tree/file` changed while it was read");
    std::fs::remove_file(trees.path("from/tree/file")).unwrap();
    assert_eq!(copy(&listed, "gone").unwrap_err().to_string(), "`tree/file` changed while it was read");
}

#[test]
fn a_checksum_sees_everything_but_times() {
    let trees = Trees::new();
    let sum = |path: &str| {
        checksum(&root(&trees.path("from")), Path::new(path), &ChecksumOptions::default()).unwrap()
    };
    let first = sum("tree");
    assert!(first.is_some());
    assert_eq!(sum("none"), None);
    let touched = std::fs::File::options().append(true).open(trees.path("from/tree/file")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(sum("tree"), first);
    std::fs::rename(trees.path("from/tree"), trees.path("from/moved")).unwrap();
    assert_eq!(sum("moved"), first);
    symlink("moved", trees.path("from/tree")).unwrap();
    assert_eq!(sum("tree"), first);
    let mut seen = vec![first];
    let steps: [&dyn Fn(); 5] = [
        &|| std::fs::write(trees.path("from/tree/file"), "Content").unwrap(),
        &|| std::fs::set_permissions(trees.path("from/tree/file"), PermissionsExt::from_mode(0o600)).unwrap(),
        &|| std::os::unix::fs::chown(trees.path("from/tree/file"), Some(1), None).unwrap(),
        &|| std::fs::rename(trees.path("from/tree/link"), trees.path("from/tree/link2")).unwrap(),
        &|| std::fs::create_dir(trees.path("from/tree/empty")).unwrap(),
    ];
    for step in steps {
        step();
        let now = sum("tree");
        assert!(!seen.contains(&now));
        seen.push(now);
    }
}
