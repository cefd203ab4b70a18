//! Files of strangers land where they belong, and nowhere else.

use std::os::unix::ffi::OsStrExt as _;

use kiln_builder::tree::{TreeEntry, TreeNode};

use super::*;
use crate::Config;

fn engine() -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Config::new(dir.path().join("state"))).unwrap();
    (dir, engine)
}

fn entry(path: &str, node: TreeNode) -> TreeEntry {
    let mode = if node == TreeNode::Directory { 0o755 } else { 0o644 };
    let mtime = 1_000_000_000_123_456_789;
    TreeEntry { path: path.as_bytes().to_vec(), node, mode, uid: 0, gid: 0, mtime, xattrs: Vec::new() }
}

fn file(path: &str, content: &str) -> (TreeEntry, Option<String>) {
    (entry(path, TreeNode::File(content.len() as u64)), Some(content.to_owned()))
}

fn other(path: &str, node: TreeNode) -> (TreeEntry, Option<String>) {
    (entry(path, node), None)
}

/// Sends files; the paths whose content was wanted.
fn send(received: &Received, files: &[(TreeEntry, Option<String>)]) -> Result<Vec<String>> {
    let mut receiving = received.receive();
    let mut wanted = Vec::new();
    for (entry, content) in files {
        if receiving.entry(entry)? {
            wanted.push(String::from_utf8(entry.path.clone()).unwrap());
            let mut filling = receiving.create(entry.clone())?;
            filling.write(content.as_deref().unwrap_or_default().as_bytes())?;
            filling.finish()?;
        }
    }
    receiving.finish()?;
    Ok(wanted)
}

fn read(received: &Received, path: &str) -> String {
    std::fs::read_to_string(received.path().join(path)).unwrap()
}

#[test]
fn only_what_changed_travels_again_and_what_is_gone_goes() {
    let (_dir, engine) = engine();
    let first = engine.received("key").unwrap();
    let link = || other("d/link", TreeNode::Symlink(b"a".to_vec()));
    let folder = || other("d", TreeNode::Directory);
    let wanted = send(&first, &[folder(), file("d/a", "one"), file("d/b", "two"), link()]).unwrap();
    assert_eq!(wanted, ["d/a", "d/b"]);
    let place = first.path().to_owned();
    drop(first);
    let second = engine.received("key").unwrap();
    assert_eq!(second.path(), place);
    let wanted = send(&second, &[folder(), file("d/a", "one"), file("d/c", "new"), link()]).unwrap();
    assert_eq!(wanted, ["d/c"]);
    assert_eq!((read(&second, "d/link"), read(&second, "d/c")), ("one".to_owned(), "new".to_owned()));
    assert!(!second.path().join("d/b").exists());
    // A name that becomes another kind of file.
    let wanted = send(&second, &[file("d", "a file now")]).unwrap();
    assert_eq!((wanted, read(&second, "d")), (vec!["d".to_owned()], "a file now".to_owned()));
}

#[test]
fn two_users_of_a_key_have_two_folders_and_a_prune_takes_what_nobody_uses() {
    let (_dir, engine) = engine();
    let (first, second) = (engine.received("key").unwrap(), engine.received("key").unwrap());
    assert_ne!(first.path(), second.path());
    drop(second);
    send(&first, &[file("a", "x")]).unwrap();
    let used = engine.received_usage().unwrap();
    assert_eq!((used.total, used.active), (2, 1));
    assert!(used.bytes > used.reclaimable && used.reclaimable > 0);
    let cache = engine.usage().unwrap().pop().unwrap();
    assert_eq!((cache.total, cache.size), (2, used.bytes), "it counts as build cache");
    assert_eq!(engine.prune_build_cache(false, None).unwrap().0, used.reclaimable);
    assert_eq!(engine.received_usage().unwrap().total, 1);
    assert!(first.path().exists());
    assert_ne!(engine.received("other").unwrap().path(), first.path());
}

#[test]
fn a_folder_for_once_is_empty_and_then_gone() {
    let (_dir, engine) = engine();
    let received = engine.received_once().unwrap();
    send(&received, &[file("a", "x")]).unwrap();
    let place = received.path().to_owned();
    assert_ne!(engine.received_once().unwrap().path(), place);
    drop(received);
    assert!(!place.exists());
}

#[test]
fn several_names_of_a_file_are_one_file() {
    let (_dir, engine) = engine();
    let received = engine.received("key").unwrap();
    let link = other("b", TreeNode::HardLink(b"a".to_vec()));
    send(&received, &[file("a", "x"), link.clone()]).unwrap();
    send(&received, &[file("a", "x"), link]).unwrap();
    assert_eq!(read(&received, "b"), "x");
}

/// B13: names of strangers.
#[test]
fn names_that_lead_elsewhere_are_refused_and_nothing_outside_changes() {
    let (dir, engine) = engine();
    let canary = dir.path().join("canary");
    std::fs::write(&canary, "alive").unwrap();
    let received = engine.received("key").unwrap();
    let link = || other("l", TreeNode::Symlink(dir.path().as_os_str().as_bytes().to_vec()));
    for bad in [
        vec![file("../x", "")],
        vec![file("/x", "")],
        vec![file("", "")],
        vec![file("a/../../x", "")],
        vec![file("a//b", "")],
        vec![file("./a", "")],
        vec![file("a\0b", "")],
        vec![file(&"n".repeat(256), "")],
        vec![file("nowhere/a", "")],
        vec![link(), file("l/canary", "dead")],
        vec![file("b", ""), file("a", "")],
        vec![file("a", ""), file("a", "")],
        vec![other("h", TreeNode::HardLink(b"../canary".to_vec()))],
        vec![link(), other("m", TreeNode::HardLink(b"l".to_vec()))],
        vec![other("s", TreeNode::Symlink(Vec::new()))],
    ] {
        let names: Vec<_> = bad.iter().map(|(entry, _)| entry.path.clone()).collect();
        let error = send(&received, &bad).unwrap_err();
        assert_eq!(error.kind, crate::ErrorKind::InvalidInput, "{names:?}: {}", error.chain());
    }
    assert_eq!(std::fs::read_to_string(canary).unwrap(), "alive");
}

#[test]
fn a_file_whose_owner_or_attributes_changed_travels_again() {
    let (_dir, engine) = engine();
    let received = engine.received("key").unwrap();
    let marked = |owner: u32, value: &str| {
        let (mut entry, content) = file("a", "x");
        entry.uid = owner;
        entry.xattrs = vec![(b"user.a".to_vec(), value.as_bytes().to_vec())];
        (entry, content)
    };
    let owner = std::fs::metadata(received.path()).unwrap().uid();
    assert_eq!(send(&received, &[marked(owner, "1")]).unwrap(), ["a"]);
    let has_attributes = !kiln_sys::fs::xattr::list(received.root.as_fd(), "a").unwrap().is_empty();
    assert!(send(&received, &[marked(owner, "1")]).unwrap().is_empty() || !has_attributes);
    assert_eq!(send(&received, &[marked(owner, "2")]).unwrap(), ["a"]);
    assert_eq!(send(&received, &[file("a", "x")]).unwrap(), ["a"], "one attribute less");
    if owner == 0 {
        let mut other = file("a", "x");
        other.0.gid = 7;
        assert_eq!(send(&received, std::slice::from_ref(&other)).unwrap(), ["a"]);
        assert!(send(&received, &[other]).unwrap().is_empty());
    }
}

#[test]
fn folders_of_one_key_and_of_all_have_a_limit() {
    let (_dir, engine) = engine();
    let all: Vec<Received> = (0..MAX_COPIES).map(|_| engine.received("key").unwrap()).collect();
    let further = engine.received("key").unwrap();
    assert!(further.once, "who comes then is not refused, and leaves nothing");
    drop(further);
    let parent = all[0].path().parent().unwrap().parent().unwrap().to_owned();
    let old = all[3].path().parent().unwrap().to_owned();
    drop(all);
    let long_ago = SystemTime::now() - MAX_AGE - Duration::from_secs(60);
    std::fs::File::open(old.join(LOCK)).unwrap().set_modified(long_ago).unwrap();
    (0..MAX_FOLDERS).for_each(|number| drop(engine.received(&number.to_string()).unwrap()));
    assert!(!old.exists());
    assert_eq!(std::fs::read_dir(parent).unwrap().count(), MAX_FOLDERS);
}
