//! What every snapshot driver must do, as tests that are instantiated for each of them.
//!
//! `snapshotter_suite!(|root| driver)` makes a test of every function here; it takes a function from a directory
//! to a boxed [`Snapshotter`] and needs the `tempfile` crate where it is used.

use std::os::fd::AsFd;
use std::path::Path;

use kiln_sys::fs::{self, Root};

use crate::{
    ApplyOptions, Change, ChangeKind, Error, Key, Name, Snapshotter, TarOptions, apply, detached_root,
    write_tar,
};

/// Makes a test of each function of [`testsuite`](crate::testsuite) for one driver.
#[macro_export]
macro_rules! snapshotter_suite {
    ($factory:expr) => {
        $crate::snapshotter_suite!(@tests $factory;
            a_child_has_what_its_parent_has,
            a_name_is_taken_once,
            keys_and_parents_are_checked,
            a_parent_cannot_go_before_its_children,
            a_view_is_read_only,
            an_active_snapshot_can_be_mounted_again,
            deletions_and_replacements_are_changes,
            a_layer_rebuilt_from_its_changes_is_the_same,
            usage_counts_what_was_written,
            leftovers_are_cleaned
        );
    };
    (@tests $factory:expr; $($name:ident),*) => {
        $(#[test]
        fn $name() {
            let dir = ::tempfile::tempdir().unwrap();
            let factory: fn(&::std::path::Path) -> ::std::boxed::Box<dyn $crate::Snapshotter> = $factory;
            $crate::testsuite::$name(&*factory(dir.path()), dir.path());
        })*
    };
}

fn key(text: &str) -> Key {
    Key(text.to_owned())
}

fn name(text: &str) -> Name {
    Name(text.to_owned())
}

fn prepare(snapshots: &dyn Snapshotter, text: &str, parent: Option<&str>) -> Root {
    let mounts = snapshots.prepare(&key(text), parent.map(name).as_ref()).expect("prepare");
    detached_root(&mounts).expect("mount")
}

fn write(root: &Root, path: &str, text: &str) {
    let (dir, last) = root.parent_of(path).expect("parent");
    let _ = fs::unlinkat(dir.as_fd(), &last);
    let file = fs::create_file(dir.as_fd(), &last, 0o644).expect("create");
    std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0).expect("write");
}

fn read(root: &Root, path: &str) -> Option<String> {
    let bytes = root.read_limited(path, 1 << 20).expect("read")?;
    Some(String::from_utf8(bytes).expect("text"))
}

fn layer(snapshots: &dyn Snapshotter, text: &str, parent: Option<&str>, work: impl FnOnce(&Root)) {
    let root = prepare(snapshots, &format!("make {text}"), parent);
    work(&root);
    drop(root);
    snapshots.commit(&name(text), &key(&format!("make {text}"))).expect("commit");
}

/// Base layer of several tests.
fn base(snapshots: &dyn Snapshotter) {
    layer(snapshots, "base", None, |root| {
        for dir in ["keep", "gone", "swap"] {
            root.create_dir_all(dir, 0o755, None).expect("mkdir");
            write(root, &format!("{dir}/file"), "base");
        }
        write(root, "file", "base");
    });
}

/// A parent's files are there, and writing does not change the parent.
pub fn a_child_has_what_its_parent_has(snapshots: &dyn Snapshotter, _: &Path) {
    base(snapshots);
    let root = prepare(snapshots, "child", Some("base"));
    assert_eq!(read(&root, "keep/file").as_deref(), Some("base"));
    write(&root, "keep/file", "child");
    assert_eq!(read(&root, "keep/file").as_deref(), Some("child"));
    let other = prepare(snapshots, "other", Some("base"));
    assert_eq!(read(&other, "keep/file").as_deref(), Some("base"));
}

/// The second to commit a name is told, and keeps its active snapshot.
pub fn a_name_is_taken_once(snapshots: &dyn Snapshotter, _: &Path) {
    base(snapshots);
    write(&prepare(snapshots, "second", None), "file", "second");
    let error = snapshots.commit(&name("base"), &key("second")).expect_err("the name is taken");
    assert!(error.is_exists(), "{error}");
    let root = detached_root(&snapshots.mounts(&key("second")).expect("mounts")).expect("mount");
    assert_eq!(read(&root, "file").as_deref(), Some("second"));
    drop(root);
    snapshots.remove_active(&key("second")).expect("remove");
    snapshots.remove_active(&key("second")).expect("removing twice is harmless");
    assert!(snapshots.mounts(&key("second")).expect_err("it is gone").is_not_found());
}

/// Wrong keys, parents and kinds are errors that say so.
pub fn keys_and_parents_are_checked(snapshots: &dyn Snapshotter, _: &Path) {
    base(snapshots);
    assert!(snapshots.prepare(&key("k"), Some(&name("none"))).expect_err("no parent").is_not_found());
    prepare(snapshots, "k", Some("base"));
    assert!(snapshots.prepare(&key("k"), None).expect_err("taken").is_exists());
    assert!(snapshots.commit(&name("n"), &key("none")).expect_err("no key").is_not_found());
    assert!(snapshots.remove(&name("none")).expect_err("no name").is_not_found());
    assert_eq!(snapshots.stat(&name("none")).expect("stat"), None);
    snapshots.view(&key("v"), Some(&name("base"))).expect("view");
    let error = snapshots.commit(&name("n"), &key("v")).expect_err("a view");
    assert!(matches!(error, Error::WrongKind { .. }), "{error}");
}

/// Removal goes from the leaves.
pub fn a_parent_cannot_go_before_its_children(snapshots: &dyn Snapshotter, _: &Path) {
    base(snapshots);
    layer(snapshots, "child", Some("base"), |root| write(root, "file", "child"));
    let info = snapshots.stat(&name("child")).expect("stat").expect("it is there");
    assert_eq!(info.parent, Some(name("base")));
    let error = snapshots.remove(&name("base")).expect_err("it has a child");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    let directory = snapshots.layer_dir(&name("child")).expect("directory");
    assert!(directory.exists());
    snapshots.remove(&name("child")).expect("remove");
    assert!(!directory.exists());
    snapshots.remove(&name("base")).expect("remove");
    assert_eq!(snapshots.stat(&name("base")).expect("stat"), None);
}

/// A view shows its parent, or nothing, and takes no writes.
pub fn a_view_is_read_only(snapshots: &dyn Snapshotter, _: &Path) {
    base(snapshots);
    layer(snapshots, "top", Some("base"), |root| write(root, "top", "top"));
    for (view, parent, file) in
        [("a", None, None), ("b", Some("base"), Some("file")), ("c", Some("top"), Some("top"))]
    {
        let mounts = snapshots.view(&key(view), parent.map(name).as_ref()).expect("view");
        let root = detached_root(&mounts).expect("mount");
        assert!(file.is_none_or(|file| read(&root, file).is_some()), "{view}");
        assert!(fs::create_file(root.as_fd(), "new", 0o644).is_err(), "{view} is writable");
        drop(root);
        snapshots.remove_active(&key(view)).expect("remove");
    }
    let root = prepare(snapshots, "after", Some("top"));
    assert_eq!(read(&root, "file").as_deref(), Some("base"));
}

/// What was written is there when an active snapshot is mounted a second time.
pub fn an_active_snapshot_can_be_mounted_again(snapshots: &dyn Snapshotter, _: &Path) {
    base(snapshots);
    write(&prepare(snapshots, "work", Some("base")), "new", "one");
    for text in ["one", "two"] {
        let root = detached_root(&snapshots.mounts(&key("work")).expect("mounts")).expect("mount");
        assert_eq!(read(&root, "new").as_deref(), Some(text));
        write(&root, "new", "two");
    }
}

fn paths(list: &[Change]) -> Vec<String> {
    let sign = |change: &Change| if change.kind == ChangeKind::Removed { '-' } else { '+' };
    list.iter().map(|change| format!("{}{}", sign(change), change.path.escape_ascii())).collect()
}

fn modify(root: &Root) {
    fs::remove_tree(root.as_fd(), "gone").expect("remove");
    fs::remove_tree(root.as_fd(), "swap").expect("remove");
    write(root, "swap", "a file now");
    fs::remove_tree(root.as_fd(), "file").expect("remove");
    fs::mkdirat(root.as_fd(), "file", 0o755).expect("mkdir");
    write(root, "file/inner", "a directory now");
    write(root, "keep/new", "new");
}

/// Every kind of change is found, with the directories above.
pub fn deletions_and_replacements_are_changes(snapshots: &dyn Snapshotter, _: &Path) {
    base(snapshots);
    layer(snapshots, "child", Some("base"), modify);
    let changes = snapshots.layer_changes(&name("child")).expect("changes");
    assert_eq!(paths(&changes.list), ["+file", "+file/inner", "-gone", "+keep", "+keep/new", "+swap"]);
    let same = snapshots.layer_changes(&name("base")).expect("changes");
    let all = ["+file", "+gone", "+gone/file", "+keep", "+keep/file", "+swap", "+swap/file"];
    assert_eq!(paths(&same.list), all);
}

/// Packing a layer and unpacking it on the same parent gives the same tree, and the same tar again.
pub fn a_layer_rebuilt_from_its_changes_is_the_same(snapshots: &dyn Snapshotter, _: &Path) {
    base(snapshots);
    layer(snapshots, "child", Some("base"), |root| {
        modify(root);
        fs::linkat(root.as_fd(), "swap", root.as_fd(), "again").expect("link");
    });
    let tar = pack(snapshots, "child");
    layer(snapshots, "copy", Some("base"), |root| {
        apply(tar.as_slice(), root, &ApplyOptions::default()).expect("apply");
        assert_eq!(read(root, "gone/file"), None);
        assert_eq!(read(root, "again").as_deref(), Some("a file now"));
        assert_eq!(read(root, "file/inner").as_deref(), Some("a directory now"));
    });
    let copied = snapshots.layer_changes(&name("copy")).expect("changes");
    let made = snapshots.layer_changes(&name("child")).expect("changes");
    assert_eq!(paths(&copied.list), paths(&made.list));
}

fn pack(snapshots: &dyn Snapshotter, text: &str) -> Vec<u8> {
    let changes = snapshots.layer_changes(&name(text)).expect("changes");
    let mut tar = Vec::new();
    write_tar(&changes.list, &changes.root, &mut tar, &TarOptions::default()).expect("tar");
    tar
}

/// Usage is of a snapshot's own files.
pub fn usage_counts_what_was_written(snapshots: &dyn Snapshotter, _: &Path) {
    layer(snapshots, "one", None, |root| {
        write(root, "file", &"x".repeat(100_000));
        fs::linkat(root.as_fd(), "file", root.as_fd(), "link").expect("link");
    });
    let usage = snapshots.usage(&name("one")).expect("usage");
    assert_eq!(usage.inodes, 1);
    assert!(usage.bytes >= 100_000, "{usage:?}");
    prepare(snapshots, "empty", None);
    assert_eq!(snapshots.usage_active(&key("empty")).expect("usage").inodes, 0);
}

/// Directories without a row go, the others stay.
pub fn leftovers_are_cleaned(snapshots: &dyn Snapshotter, directory: &Path) {
    base(snapshots);
    for left in ["999/fs/dir", "998.removed/fs"] {
        std::fs::create_dir_all(directory.join(left)).expect("mkdir");
    }
    snapshots.clean().expect("clean");
    assert!(!directory.join("999").exists() && !directory.join("998.removed").exists());
    assert!(snapshots.layer_dir(&name("base")).expect("directory").join("keep/file").exists());
}
