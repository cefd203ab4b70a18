//! Layers come in, are built on, and go out again; what lies is refused.

mod common;

use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::{Layer, diff_ids, gzip, layer, open, packed, place, step};
use kiln_cache::{Arriving, Error, Growing, LayerRef, Lease, Store, name_of};
use kiln_oci::compression::Packing;
use kiln_oci::{ChainId, Compression, Descriptor, DiffId, Digest, MediaType};

fn unpack(store: &Store, lease: &Lease, parent: &[DiffId], layer: &Layer) -> Result<LayerRef, Error> {
    let arriving = Arriving { descriptor: &layer.descriptor, parent, diff_id: &layer.diff_id };
    store.layers.unpack_stream(lease, arriving, &layer.gzip[..])
}

fn read(store: &Store, chain: &[DiffId], file: &str) -> String {
    let name = name_of(&ChainId::of(chain).unwrap());
    fs::read_to_string(store.snapshots.layer_dir(&name).unwrap().join(file)).unwrap()
}

fn entries(store: &Store, dir: &str) -> usize {
    fs::read_dir(store.root().join(dir)).unwrap().count()
}

/// Nothing of a layer is in the store.
fn assert_absent(store: &Store, layer: &Layer) {
    assert_eq!(store.content.info(&layer.descriptor.digest).unwrap(), None);
    let name = name_of(&ChainId::extend(None, &layer.diff_id));
    assert_eq!(store.snapshots.stat(&name).unwrap(), None);
    assert_eq!((entries(store, "ingest"), snapshots(store)), (0, 0));
}

fn snapshots(store: &Store) -> usize {
    store.snapshots.clean().unwrap();
    entries(store, "snapshots")
}

/// The chain of a layer whose snapshot was changed after it was made.
fn tampered(store: &Store, lease: &Lease) -> Vec<DiffId> {
    let chain = diff_ids(&[step(store, lease, &[], "file", "as built")]);
    let name = name_of(&ChainId::of(&chain).unwrap());
    fs::write(store.snapshots.layer_dir(&name).unwrap().join("file"), "tampered").unwrap();
    chain
}

#[test]
fn a_layer_comes_in_and_goes_out_again() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let base = layer(&[("etc-hello", "hello"), ("big", &"x".repeat(700_000))]);
    let there = unpack(&store, &lease, &[], &base).unwrap();
    assert_eq!(there, LayerRef { diff_id: base.diff_id.clone(), size: base.tar.len() as u64 });
    assert_eq!(read(&store, std::slice::from_ref(&base.diff_id), "etc-hello"), "hello");
    assert_eq!(store.content.info(&base.descriptor.digest).unwrap().unwrap().size, base.gzip.len() as u64);

    let child = step(&store, &lease, std::slice::from_ref(&base.diff_id), "new", "from a step");
    let chain = [base.diff_id.clone(), child.diff_id.clone()];
    assert_eq!(read(&store, &chain, "new"), "from a step");
    assert_eq!(store.layers.get(&chain).unwrap().unwrap(), [there, child.clone()]);

    // The base's blob is the one that came; the child's is made, once, and unpacks to the same layer elsewhere.
    let pulled = store.layers.blob_of(&lease, &chain, 0, Packing::of(Compression::Gzip)).unwrap();
    assert_eq!(pulled.digest, base.descriptor.digest);
    let made = store.layers.blob_of(&lease, &chain, 1, Packing::of(Compression::Gzip)).unwrap();
    assert_eq!(store.layers.blob_of(&lease, &chain, 1, Packing::of(Compression::Gzip)).unwrap(), made);
    let elsewhere = place();
    let other_lease = elsewhere.leases.create().unwrap();
    unpack(&elsewhere, &other_lease, &[], &base).unwrap();
    let arriving = Arriving { descriptor: &made, parent: &chain[..1], diff_id: &chain[1] };
    let bytes = store.content.reader(&made.digest).unwrap();
    assert_eq!(elsewhere.layers.unpack_stream(&other_lease, arriving, bytes).unwrap(), child);
    assert_eq!(read(&elsewhere, &chain, "new"), "from a step");
}

#[test]
fn every_form_gives_the_same_tar() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let made = step(&store, &lease, &[], "file", &"content ".repeat(100_000));
    let chain = diff_ids(std::slice::from_ref(&made));
    let tar = |store: &Store| {
        let mut tar = Vec::new();
        store.layers.open_tar(&chain, 0).unwrap().read_to_end(&mut tar).unwrap();
        tar
    };
    let from_snapshot = tar(&store);
    assert_eq!((DiffId(Digest::of(&from_snapshot)), from_snapshot.len() as u64), (made.diff_id, made.size));
    for compression in [Compression::Zstd, Compression::Uncompressed, Compression::Gzip] {
        let blob = store.layers.blob_of(&lease, &chain, 0, Packing::of(compression)).unwrap();
        assert_eq!(blob.media_type, MediaType::layer(compression));
        assert_eq!(tar(&store), from_snapshot);
    }
    assert_eq!(store.layers.blobs(&chain[0]).unwrap().len(), 3);
    // Dropped before its end, a tar leaves no thread that waits for ever.
    store.layers.open_tar(&chain, 0).unwrap().read_exact(&mut [0; 10]).unwrap();
}

#[test]
fn equal_steps_are_one_layer() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let base = layer(&[("a", "a")]);
    unpack(&store, &lease, &[], &base).unwrap();
    let parent = [base.diff_id];
    let key = |name: &str| kiln_snapshot::Key(name.to_owned());
    let parent_name = name_of(&ChainId::of(&parent).unwrap());
    for name in ["one", "two"] {
        store.snapshots.prepare(&key(name), Some(&parent_name)).unwrap();
    }
    let one = store.layers.commit(&lease, &key("one"), &parent).unwrap();
    let two = store.layers.commit(&lease, &key("two"), &parent).unwrap();
    assert_eq!(one, two);
    assert_eq!(snapshots(&store), 2);
}

#[test]
fn a_lie_about_the_diff_id_is_refused_and_nothing_stays() {
    let store = place();
    let mut lying = layer(&[("good", "looking")]);
    lying.diff_id = DiffId(Digest::of(b"something else"));
    let lease = store.leases.create().unwrap();
    assert!(matches!(unpack(&store, &lease, &[], &lying), Err(Error::WrongDiffId { .. })));
    assert_absent(&store, &lying);

    // The same through a blob that came in before.
    store.layers.store_stream(&lease, &lying.descriptor, &lying.diff_id, &lying.gzip[..]).unwrap();
    let chain = std::slice::from_ref(&lying.diff_id);
    assert!(matches!(store.layers.snapshot_of(&lease, chain), Err(Error::WrongDiffId { .. })));
    assert!(store.layers.blobs(&lying.diff_id).unwrap().is_empty(), "a claim was believed");
    assert_eq!(snapshots(&store), 0);
}

#[test]
fn damaged_streams_are_refused_and_nothing_stays() {
    let store = place();
    let good = layer(&[("file", &"data ".repeat(50_000))]);
    let with = |bytes: &[u8]| Layer { gzip: bytes.to_vec(), tar: Vec::new(), ..copy_of(&good) };
    let mut flipped = good.gzip.clone();
    flipped[good.gzip.len() / 2] ^= 1;
    let long = [&good.gzip[..], b"more"].concat();
    for damaged in [with(&good.gzip[..good.gzip.len() / 2]), with(&flipped), with(&long), with(b"")] {
        let lease = store.leases.create().unwrap();
        let error = unpack(&store, &lease, &[], &damaged).unwrap_err();
        assert!(!matches!(error, Error::Io { .. }), "{error}");
        assert_absent(&store, &damaged);
    }
}

fn copy_of(layer: &Layer) -> Layer {
    Layer {
        tar: layer.tar.clone(),
        gzip: layer.gzip.clone(),
        diff_id: layer.diff_id.clone(),
        descriptor: layer.descriptor.clone(),
    }
}

#[test]
fn a_reader_that_fails_leaves_nothing() {
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            self.0.read(out)
        }
    }
    let store = place();
    let good = layer(&[("file", "data")]);
    let lease = store.leases.create().unwrap();
    let arriving = Arriving { descriptor: &good.descriptor, parent: &[], diff_id: &good.diff_id };
    let error =
        store.layers.unpack_stream(&lease, arriving, Broken(&good.gzip[..good.gzip.len() / 2])).unwrap_err();
    assert!(matches!(error, Error::Stream { .. }), "{error}");
    assert_absent(&store, &good);
}

#[test]
fn uncompressed_layers_and_upper_layers_with_deletions() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let base = layer(&[("keep", "1"), ("gone", "2"), ("dir/inside", "3")]);
    let mut upper = layer(&[(".wh.gone", ""), ("dir/.wh..wh..opq", ""), ("dir/new", "4")]);
    upper.descriptor = Descriptor::of(MediaType::OCI_LAYER, &upper.tar);
    upper.gzip = upper.tar.clone();
    unpack(&store, &lease, &[], &base).unwrap();
    unpack(&store, &lease, std::slice::from_ref(&base.diff_id), &upper).unwrap();
    let chain = [base.diff_id, upper.diff_id];
    let name = store.layers.snapshot_of(&lease, &chain).unwrap().unwrap();
    let key = kiln_snapshot::Key("look".to_owned());
    let root = kiln_snapshot::detached_root(&store.snapshots.view(&key, Some(&name)).unwrap()).unwrap();
    assert_eq!(root.read_limited("keep", 10).unwrap(), Some(b"1".to_vec()));
    assert_eq!(root.read_limited("gone", 10).unwrap(), None);
    assert_eq!(root.read_limited("dir/inside", 10).unwrap(), None);
    assert_eq!(root.read_limited("dir/new", 10).unwrap(), Some(b"4".to_vec()));
    drop(root);
    store.snapshots.remove_active(&key).unwrap();
}

#[test]
fn missing_layers_are_unpacked_from_blobs_once() {
    struct Counting<'a>(&'a AtomicUsize, &'a [u8]);
    impl Read for Counting<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1.read(out)
        }
    }
    let one = place();
    let two = open(one.dir.path());
    let layers: Vec<Layer> =
        (0..4).map(|n| layer(&[(&format!("file{n}"), &format!("content{n}"))])).collect();
    let chain: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let reads = AtomicUsize::new(0);
    let lease = one.leases.create().unwrap();
    for layer in &layers {
        one.layers
            .store_stream(&lease, &layer.descriptor, &layer.diff_id, Counting(&reads, &layer.gzip))
            .unwrap();
    }
    thread::scope(|scope| {
        for store in [&one.store, &two, &one.store, &two] {
            let chain = &chain;
            scope.spawn(move || {
                let lease = store.leases.create().unwrap();
                store.layers.snapshot_of(&lease, chain).unwrap().unwrap();
            });
        }
    });
    assert_eq!(snapshots(&one), 4);
    let before = reads.load(Ordering::SeqCst);
    let arriving = Arriving { descriptor: &layers[3].descriptor, parent: &chain[..3], diff_id: &chain[3] };
    one.layers.unpack_stream(&lease, arriving, Counting(&reads, &layers[3].gzip)).unwrap();
    assert_eq!(reads.load(Ordering::SeqCst), before, "a layer that is there was read again");
    assert_eq!(one.layers.snapshot_of(&lease, &[]).unwrap(), None);
    assert!(one.layers.snapshot_of(&lease, &[DiffId(Digest::of(b"?"))]).unwrap_err().is_not_found());
}

#[test]
fn a_changed_snapshot_is_not_packed_as_what_it_was() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let chain = tampered(&store, &lease);
    let error = store.layers.blob_of(&lease, &chain, 0, Packing::of(Compression::Gzip)).unwrap_err();
    assert!(matches!(error, Error::WrongDiffId { .. }), "{error}");
    assert!(store.layers.blobs(&chain[0]).unwrap().is_empty());
}

#[test]
fn bytes_after_the_tar_belong_to_the_diff_id() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let mut tar = layer(&[("a", "b")]).tar;
    tar.extend_from_slice(&[0; 20 * 512]);
    let padded = packed(tar);
    assert_eq!(unpack(&store, &lease, &[], &padded).unwrap().size, padded.tar.len() as u64);
    assert_eq!(gzip(&padded.tar), padded.gzip);
}

#[test]
fn a_blob_is_read_while_it_is_packed() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let content: String =
        (0..400_000u32).map(|i| char::from((i.wrapping_mul(i) >> 7) as u8 & 0x7f)).collect();
    let made = step(&store, &lease, &[], "file", &content);
    let chain = diff_ids(std::slice::from_ref(&made));
    let gzip = Packing::of(Compression::Gzip);
    let read = thread::scope(|scope| {
        let mut readers = Vec::new();
        let watch = |growing: Growing| {
            readers.push(scope.spawn(move || {
                let mut bytes = Vec::new();
                growing.reader().read_to_end(&mut bytes).map(|_| (bytes, growing.reaches(1)))
            }));
        };
        let packed = store.layers.watched_blob_of(&lease, &chain, 0, gzip, watch).unwrap();
        let watched = readers.len();
        let read = readers.remove(0).join().unwrap().unwrap();
        assert_eq!((watched, Digest::of(&read.0)), (1, packed.digest));
        read
    });
    assert!(read.1);
    let again = store.layers.watched_blob_of(&lease, &chain, 0, gzip, |_| panic!("it is there"));
    assert_eq!(again.unwrap().size, read.0.len() as u64);
}

#[test]
fn who_asks_for_a_blob_that_is_being_packed_sees_it_grow_and_cannot_end_it() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let chain = diff_ids(&[step(&store, &lease, &[], "file", "content")]);
    let gzip = Packing::of(Compression::Gzip);
    thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let (store, lease, chain) = (&store, &lease, &chain);
        let seen = move |growing: Growing| {
            growing.give_up();
            tell.send(growing).unwrap();
        };
        let mut others = Vec::new();
        let mut seen = Some(seen);
        let watch = |_| {
            let seen = seen.take().unwrap();
            others.push(scope.spawn(move || store.layers.watched_blob_of(lease, chain, 0, gzip, seen)));
            // It goes on only when the other one has seen it.
            told.recv().unwrap();
        };
        let packed = store.layers.watched_blob_of(lease, chain, 0, gzip, watch).unwrap();
        assert_eq!(others.remove(0).join().unwrap().unwrap(), packed);
    });
    assert_eq!(store.layers.counts().packed, 1);
}

#[test]
fn a_blob_that_is_given_up_ends_in_an_error() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let chain = tampered(&store, &lease);
    let mut seen = None;
    let watch = |growing| seen = Some(growing);
    let gzip = Packing::of(Compression::Gzip);
    let packed = store.layers.watched_blob_of(&lease, &chain, 0, gzip, watch);
    let growing = seen.unwrap();
    assert!(packed.is_err() && !growing.reaches(u64::MAX));
    assert!(growing.reader().read_to_end(&mut Vec::new()).is_err());

    let made = step(&store, &lease, &[], "other", "whole");
    let chain = diff_ids(std::slice::from_ref(&made));
    let given_up = store.layers.watched_blob_of(&lease, &chain, 0, gzip, |growing| growing.give_up());
    assert!(given_up.is_err() && entries(&store, "ingest") == 0);
    store.layers.blob_of(&lease, &chain, 0, gzip).unwrap();
}

#[test]
fn what_was_compressed_before_is_taken_and_changes_no_byte() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let pack = |content: &str| {
        let chain = diff_ids(&[step(&store, &lease, &[], "file", content)]);
        (store.layers.blob_of(&lease, &chain, 0, Packing::of(Compression::Gzip)).unwrap(), chain)
    };
    let content: String = (0..900_000u32).map(|i| format!("{:x} ", i.wrapping_mul(i) >> 9)).collect();
    pack(&content);
    assert_eq!(store.layers.counts().taken, 0);
    let (packed, chain) = pack(&format!("{}{content}", "x".repeat(2048)));
    assert!(store.layers.counts().taken > 5, "{:?}", store.layers.counts());
    let mut tar = Vec::new();
    store.layers.open_tar(&chain, 0).unwrap().read_to_end(&mut tar).unwrap();
    assert_eq!(packed.digest, Digest::of(&gzip(&tar)));
}

#[test]
fn a_stack_with_a_hole_is_not_mounted() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let first = step(&store, &lease, &[], "a", "1");
    let second = step(&store, &lease, &diff_ids(std::slice::from_ref(&first)), "b", "2");
    let (below, top) = (ChainId::extend(None, &first.diff_id), diff_ids(&[first, second]));
    let db = rusqlite::Connection::open(store.dir.path().join("kiln.db")).unwrap();
    assert_eq!(db.execute("DELETE FROM snapshots WHERE name = ?1", [below.as_str()]).unwrap(), 1);
    let (key, parent) = (kiln_snapshot::Key("hole".to_owned()), name_of(&ChainId::of(&top).unwrap()));
    assert!(store.snapshots.prepare(&key, Some(&parent)).is_err(), "another filesystem under the same name");
}
