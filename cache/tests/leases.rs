//! What processes hold, and what is left of those that were killed.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{open, place};
use kiln_cache::{CacheDir, CacheDirId, Resource, Result, Sharing, Store, StoreOptions};
use kiln_oci::{Digest, MediaType};
use kiln_snapshot::Key;

const ROOT: &str = "KILN_TEST_ROOT";

/// Runs only as the child of [`a_killed_process_leaves_nothing`], which kills it.
#[test]
fn child_that_waits_for_its_death() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let store = open(root.as_ref());
    let lease = store.leases.create().unwrap();
    let key = Key("half-made".to_owned());
    lease.hold(&Resource::Active(key.clone())).unwrap();
    store.snapshots.prepare(&key, None).unwrap();
    lease.hold(&Resource::Cgroup("kiln/half-made".to_owned())).unwrap();
    lease.claim([Resource::Address("10.0.0.2".to_owned())]).unwrap().unwrap();
    let mut ingest = store.content.ingest().unwrap();
    ingest.write_all(b"half").unwrap();
    store.content.put(MediaType::OCI_CONFIG, b"written and not used").unwrap();
    let _directory = take(&store, false).unwrap();
    let mut out = std::io::stdout();
    out.write_all(b"\nready\n").unwrap();
    out.flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// The directory that the child holds, or an error if it need not be waited for any more.
fn take(store: &Store, give_up: bool) -> Result<CacheDir> {
    let id = CacheDirId { name: "npm", beginning: "" };
    store.cache_dirs.acquire(id, Sharing::Locked, &|| give_up, &|_| Ok(()))
}

fn start_child(root: &std::path::Path) -> std::process::Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_waits_for_its_death", "--nocapture"])
        .env(ROOT, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    child
}

#[test]
fn a_killed_process_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cleaned = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&cleaned);
    let cleanup = Arc::new(move |resource: &Resource| {
        seen.lock().unwrap().push(resource.clone());
        Ok(())
    });
    let options = StoreOptions { cleanup, ..StoreOptions::default() };
    let mut child = start_child(dir.path());
    let count = |name: &str| fs::read_dir(dir.path().join(name)).unwrap().count();

    let beside = Store::open(dir.path(), &options).unwrap();
    assert_eq!(beside.recovered, kiln_cache::Recovered::default(), "a living process was taken for dead");
    let address = Resource::Address("10.0.0.2".to_owned());
    let lease = beside.leases.create().unwrap();
    assert_eq!(lease.claim([address.clone()]).unwrap(), None);
    assert_eq!(beside.collect().unwrap().blobs, 0, "a blob that its writer still needs was collected");
    assert_eq!(count("ingest"), 1);
    assert!(take(&beside, true).is_err());

    child.kill().unwrap();
    child.wait().unwrap();
    // Its death frees the directory at once, before anybody recovers anything.
    take(&beside, true).unwrap();
    let after = Store::open(dir.path(), &options).unwrap();
    assert_eq!(after.recovered.processes, 1);
    assert_eq!(after.recovered.failed, Vec::<String>::new());
    assert_eq!(*cleaned.lock().unwrap(), [Resource::Cgroup("kiln/half-made".to_owned())]);
    assert!(after.snapshots.mounts(&Key("half-made".to_owned())).unwrap_err().is_not_found());
    assert_eq!((count("ingest"), count("leases")), (0, 1));
    assert_eq!(after.collect().unwrap().blobs, 1);
    assert_eq!(lease.claim([address.clone()]).unwrap(), Some(address));
}

#[test]
fn dropping_a_lease_removes_what_it_made() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let key = Key("work".to_owned());
    lease.hold(&Resource::Active(key.clone())).unwrap();
    store.snapshots.prepare(&key, None).unwrap();
    drop(lease);
    assert!(store.snapshots.mounts(&key).unwrap_err().is_not_found());
}

#[test]
fn what_is_handed_over_outlives_its_lease() {
    let place = place();
    let lease = place.leases.create().unwrap();
    let key = Resource::Active(Key("rw".to_owned()));
    lease.hold(&key).unwrap();
    place.snapshots.prepare(&Key("rw".to_owned()), None).unwrap();
    lease.hand_over(std::slice::from_ref(&key), "container", "c1").unwrap();
    drop(lease);
    let again = open(place.dir.path());
    assert!(again.snapshots.mounts(&Key("rw".to_owned())).is_ok());
    assert_eq!(again.leases.pinned("container", "c1").unwrap(), [key]);
    again.leases.unpin("container", "c1").unwrap();
    assert!(again.snapshots.mounts(&Key("rw".to_owned())).is_err());
}

#[test]
fn a_lease_file_lives_as_long_as_its_store() {
    let place = place();
    let files = || fs::read_dir(place.dir.path().join("leases")).unwrap().count();
    assert_eq!(files(), 0, "opening alone needs no file");
    let other = open(place.dir.path());
    let lease = other.leases.create().unwrap();
    other.content.put(MediaType::OCI_CONFIG, b"x").unwrap();
    assert_eq!(files(), 1);
    drop((lease, other));
    assert_eq!(files(), 0);
    assert_eq!(place.collect().unwrap().blobs, 1);
    assert!(place.content.info(&Digest::of(b"x")).unwrap().is_none());
}

#[test]
fn a_resource_that_cannot_be_removed_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let failing =
        StoreOptions { cleanup: Arc::new(|_| Err(std::io::Error::other("busy"))), ..StoreOptions::default() };
    let mut child = start_child(dir.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let first = Store::open(dir.path(), &failing).unwrap();
    assert_eq!(first.recovered.failed, ["cgroup `kiln/half-made`: busy"]);
    drop(first);
    let second = open(dir.path());
    assert_eq!((second.recovered.processes, second.recovered.released > 0), (1, true));
    assert_eq!(open(dir.path()).recovered.processes, 0);
}
