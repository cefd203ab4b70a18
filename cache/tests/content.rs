//! The content store keeps what is verified and nothing else.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use common::{open, place};
use kiln_cache::{Error, Store};
use kiln_oci::{Descriptor, Digest, MediaType};

fn ingest(store: &Store, bytes: &[u8], expected: (&Digest, u64)) -> Result<(), Error> {
    let mut ingest = store.content.ingest().unwrap();
    ingest.write_all(bytes).unwrap();
    ingest.commit(Some(expected)).map(drop)
}

fn files(store: &Store, dir: &str) -> usize {
    fs::read_dir(store.root().join(dir)).unwrap().count()
}

#[test]
fn a_blob_is_there_under_its_digest() {
    let store = place();
    let digest = Digest::of(b"hello");
    assert_eq!(store.content.info(&digest).unwrap(), None);
    ingest(&store, b"hello", (&digest, 5)).unwrap();
    assert_eq!(store.content.info(&digest).unwrap().unwrap().size, 5);
    assert_eq!(store.content.read(&digest, 10).unwrap(), b"hello");
    assert_eq!(fs::read(store.root().join("blobs/sha256").join(digest.hex())).unwrap(), b"hello");
    assert_eq!(store.content.walk().unwrap().len(), 1);
    assert_eq!(store.content.delete(&digest).unwrap(), Some(5));
    assert_eq!(store.content.delete(&digest).unwrap(), None);
    assert!(store.content.reader(&digest).unwrap_err().is_not_found());
    assert_eq!(files(&store, "ingest"), 0);
}

#[test]
fn wrong_short_and_long_content_is_refused_and_leaves_nothing() {
    let store = place();
    let digest = Digest::of(b"hello");
    assert!(matches!(ingest(&store, b"hallo", (&digest, 5)), Err(Error::WrongDigest { .. })));
    assert!(matches!(ingest(&store, b"hell", (&digest, 5)), Err(Error::WrongSize { found: 4, .. })));
    assert!(matches!(ingest(&store, b"hello!", (&digest, 5)), Err(Error::WrongSize { found: 6, .. })));
    let descriptor = Descriptor::of(MediaType::OCI_CONFIG, b"hello");
    // An endless body is cut off when it becomes too long, not when it ends.
    let endless = std::io::repeat(b'x');
    assert!(matches!(store.content.copy_in(&descriptor, endless), Err(Error::Stream { .. })));
    assert_eq!(store.content.info(&digest).unwrap(), None);
    assert_eq!((files(&store, "ingest"), files(&store, "blobs/sha256")), (0, 0));
}

#[test]
fn an_abandoned_ingest_leaves_nothing() {
    let store = place();
    let mut ingest = store.content.ingest().unwrap();
    ingest.write_all(b"half").unwrap();
    assert_eq!(files(&store, "ingest"), 1);
    drop(ingest);
    assert_eq!(files(&store, "ingest"), 0);
}

#[test]
fn many_may_write_the_same_blob_at_once() {
    let one = place();
    let two = open(one.dir.path());
    let bytes = vec![7; 300_000];
    let digest = Digest::of(&bytes);
    thread::scope(|scope| {
        for store in [&one.store, &two, &one.store, &two] {
            let (bytes, digest) = (&bytes, &digest);
            scope.spawn(move || (0..10).for_each(|_| ingest(store, bytes, (digest, 300_000)).unwrap()));
        }
    });
    assert_eq!(one.content.walk().unwrap().len(), 1);
    assert_eq!(two.content.read(&digest, 1 << 20).unwrap(), bytes);
    assert_eq!(files(&one, "ingest"), 0);
}

#[test]
fn other_digest_algorithms() {
    let store = place();
    let mut digester = kiln_oci::Digester::new(kiln_oci::Algorithm::Sha512);
    digester.update(b"hello");
    let descriptor = Descriptor::new(MediaType::OCI_CONFIG, digester.finish(), 5);
    store.content.copy_in(&descriptor, &b"hello"[..]).unwrap();
    assert_eq!(store.content.read(&descriptor.digest, 5).unwrap(), b"hello");
}

#[test]
fn others_cannot_read_the_root() {
    let store = place();
    let mode = |path: &str| fs::metadata(store.root().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o711);
    assert_eq!((mode("blobs"), mode("snapshots"), mode("volumes")), (0o700, 0o700, 0o711));
    assert_eq!((mode("kiln.db"), mode("kiln.db-wal")), (0o600, 0o600));
}

#[test]
fn check_finds_and_repairs() {
    let store = place();
    let good = store.content.put(MediaType::OCI_CONFIG, b"good").unwrap().digest;
    let bad = store.content.put(MediaType::OCI_CONFIG, b"bad!").unwrap().digest;
    let gone = store.content.put(MediaType::OCI_CONFIG, b"gone").unwrap().digest;
    fs::write(store.content.path(&bad), b"evil").unwrap();
    fs::remove_file(store.content.path(&gone)).unwrap();
    fs::write(store.root().join("blobs/sha256/stray"), b"").unwrap();
    let problems = store.check(true).unwrap();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(store.check(false).unwrap().is_empty());
    assert!(store.content.info(&good).unwrap().is_some());
    assert!(store.content.info(&bad).unwrap().is_none());
}
