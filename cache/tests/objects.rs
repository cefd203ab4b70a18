//! Documents with unique names, changed by several at once.

mod common;

use std::thread;

use common::{open, place};
use kiln_cache::{Error, Store};

#[test]
fn names_are_unique_and_ids_may_be_short() {
    let store = place();
    let containers = store.objects("container");
    containers.insert("abc123", Some("web"), &1).unwrap();
    containers.insert("abd456", None, &2).unwrap();
    let taken = containers.insert("fff", Some("web"), &3).unwrap_err();
    assert_eq!(taken.to_string(), "container `web` is already in use");
    assert!(containers.insert("abc123", None, &3).unwrap_err().is_in_use());
    assert!(containers.rename("abd456", Some("web")).unwrap_err().is_in_use());
    assert_eq!(containers.find::<i32>("web").unwrap().id, "abc123");
    assert_eq!(containers.find::<i32>("abd").unwrap().document, 2);
    assert!(matches!(containers.find::<i32>("ab"), Err(Error::Ambiguous { .. })));
    assert!(containers.find::<i32>("").is_err());
    assert!(containers.find::<i32>("zz").unwrap_err().is_not_found());
    // Another kind has names of its own.
    store.objects("network").insert("n", Some("web"), &()).unwrap();
    assert!(containers.delete("abc123").unwrap());
    assert!(!containers.delete("abc123").unwrap());
    assert_eq!(containers.list::<i32>().unwrap().len(), 1);
}

#[test]
fn updates_of_two_stores_do_not_overwrite_each_other() {
    let one = place();
    let two = open(one.dir.path());
    one.objects("volume").insert("v", None, &0_u64).unwrap();
    let add = |store: &Store| {
        for _ in 0..100 {
            let increment = |count: &mut u64| {
                *count += 1;
                Ok::<_, Error>(())
            };
            store.objects("volume").update("v", increment).unwrap();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| add(&one));
        scope.spawn(|| add(&two));
        scope.spawn(|| add(&two));
    });
    assert_eq!(two.objects("volume").get::<u64>("v").unwrap().unwrap().document, 300);
}

#[test]
fn a_refused_update_changes_nothing() {
    let store = place();
    let volumes = store.objects("volume");
    volumes.insert("v", None, &1).unwrap();
    let refuse = |count: &mut i32| {
        *count = 2;
        Err::<(), _>(Error::Cancelled { what: "it".to_owned() })
    };
    assert!(volumes.update("v", refuse).is_err());
    assert_eq!(volumes.get::<i32>("v").unwrap().unwrap().document, 1);
}

#[test]
fn a_newer_store_is_refused() {
    let place = place();
    let path = place.dir.path().join("kiln.db");
    drop(place.store);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let error = Store::open(place.dir.path(), &Default::default()).unwrap_err();
    assert!(matches!(error, Error::NewerSchema { found: 99, .. }), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn many_may_make_a_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let root = dir.path();
            scope.spawn(move || open(root).objects("x").insert(&number.to_string(), None, &number).unwrap());
        }
    });
    assert_eq!(open(dir.path()).objects("x").list::<i32>().unwrap().len(), 8);
}

#[test]
fn context_index_by_directory() {
    use kiln_cache::context_index::{Changes, DirIndex, Entry, Stamp};
    let store = place();
    let stamp = Stamp { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 };
    let entry = |name: &str| Entry { name: name.as_bytes().into(), stamp, content: [9; 32] };
    let dirs =
        [(b"".to_vec(), DirIndex::new(vec![entry("b"), entry("a")])), (b"src".to_vec(), DirIndex::default())];
    let changed = |changed: &[_]| Changes { changed: changed.to_vec(), ..Changes::default() };
    store.contexts.save(b"/a", &changed(&dirs)).unwrap();
    store.contexts.save(b"/b", &changed(&dirs[..1])).unwrap();
    let index = store.contexts.load(b"/a").unwrap();
    assert_eq!(index.len(), 2);
    assert_eq!(index.dir(b"").unwrap().get(b"a", &stamp), Some(&[9; 32]));
    store.contexts.save(b"/a", &Changes { gone: vec![b"".to_vec()], ..Changes::default() }).unwrap();
    assert!(store.contexts.load(b"/a").unwrap().dir(b"").is_none());
    assert!(store.contexts.load(b"/b").unwrap().dir(b"").is_some());
}

#[test]
fn the_oldest_trees_of_a_context_give_way() {
    use kiln_cache::context_index::{Changes, Tree};
    let store = place();
    let save = |number: u16| {
        let mut stamp = [0; 32];
        stamp[..2].copy_from_slice(&number.to_le_bytes());
        let trees = vec![Tree { stamp, content: [number as u8; 32] }];
        store.contexts.save(b"/a", &Changes { trees, ..Changes::default() }).unwrap();
        stamp
    };
    let stamps: Vec<_> = (0..300).map(save).collect();
    let known = |root: &[u8], number: usize| store.contexts.tree(root, &stamps[number]).unwrap();
    assert_eq!(known(b"/a", 299), Some([43; 32]));
    assert_eq!((known(b"/a", 43), known(b"/a", 44)), (None, Some([44; 32])), "256 are kept");
    assert_eq!(known(b"/b", 299), None, "another context");
}
