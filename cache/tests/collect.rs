//! Images, build results and what garbage collection leaves of them.

mod common;

use std::fs;

use common::{diff_ids, image, layer, open, place, step};
use kiln_cache::{
    Arriving, ImagePrune, LayerRef, Lease, Part, PruneOptions, Record, Resource, Store, name_of,
};
use kiln_oci::compression::Packing;
use kiln_oci::{ChainId, Compression, Descriptor, Digest, Index, MediaType};

const NAME: &str = "docker.io/library/app:latest";

fn prune(images: ImagePrune, build_cache: bool) -> PruneOptions {
    PruneOptions { images, build_cache, ..PruneOptions::default() }
}

fn has(store: &Store, layers: &[LayerRef]) -> bool {
    let name = name_of(&ChainId::of(&diff_ids(layers)).unwrap());
    store.snapshots.stat(&name).unwrap().is_some()
}

fn index(store: &Store) -> Vec<String> {
    let index: Index = serde_json::from_slice(&fs::read(store.root().join("index.json")).unwrap()).unwrap();
    let name = |descriptor: &kiln_oci::Descriptor| {
        descriptor.annotations.get("org.opencontainers.image.ref.name").cloned().unwrap_or_default()
    };
    index.manifests.iter().map(name).collect()
}

fn two_layers(store: &Store, lease: &Lease, what: &str) -> Vec<LayerRef> {
    let lower = step(store, lease, &[], "lower", what);
    let upper = step(store, lease, &diff_ids(std::slice::from_ref(&lower)), "upper", what);
    vec![lower, upper]
}

#[test]
fn names_move_and_the_index_follows() {
    let store = place();
    let first = image(&store, NAME, &[], "first");
    assert_eq!(store.images.get(NAME).unwrap(), Some(first.clone()));
    assert_eq!(index(&store), [NAME]);
    let second = image(&store, NAME, &[], "second");
    assert_eq!(store.images.get(NAME).unwrap(), Some(second.clone()));
    let mut names = index(&store);
    names.sort();
    assert_eq!(names, ["", NAME], "the first image is there without a name");
    let dangling = store.images.find(first.digest.short()).unwrap();
    assert!(dangling.names.is_empty());
    assert_eq!(store.images.find(dangling.config.as_ref().unwrap().as_str()).unwrap().descriptor, first);
    assert_eq!(store.images.set("docker.io/library/app:2", &second).unwrap(), None);
    let image = store.images.delete(NAME).unwrap().unwrap();
    assert_eq!(image.names, ["docker.io/library/app:2"]);
    assert!(store.images.delete("docker.io/library/app:2").unwrap().unwrap().names.is_empty());
    assert!(store.images.find(second.digest.as_str()).unwrap_err().is_not_found());
    assert!(store.images.remove(&first.digest).unwrap());
    assert!(index(&store).is_empty());
}

/// A store after a power cut: what was marked is marked by an earlier boot.
fn after_power_cut(place: common::Place) -> (Store, tempfile::TempDir) {
    let common::Place { store, dir } = place;
    drop(store);
    let db = rusqlite::Connection::open(dir.path().join("kiln.db")).unwrap();
    db.execute("UPDATE unsynced SET boot = 'an earlier one'", []).unwrap();
    drop(db);
    (open(dir.path()), dir)
}

#[test]
fn an_image_is_durable_after_a_sync_and_dropped_before() {
    let place = place();
    let lease = place.leases.create().unwrap();
    let layers = two_layers(&place, &lease, "x");
    let kept = image(&place, NAME, &layers, "kept");
    assert!(!place.syncer.is_synced().unwrap());
    kiln_cache::Syncer::sync_root(place.dir.path()).unwrap();
    assert!(place.syncer.is_synced().unwrap());

    // Names of what is durable are durable; others go with their image, or mean again what they meant.
    place.images.set("durable", &kept).unwrap();
    assert!(place.syncer.is_synced().unwrap());
    image(&place, NAME, &layers, "lost");
    image(&place, NAME, &layers, "lost too");
    let lost = image(&place, "new", &[], "lost as well");
    place.images.set("durable", &lost).unwrap();
    place.images.set("moved twice", &lost).unwrap();
    place.images.set("moved twice", &kept).unwrap();
    drop(lease);
    let (store, dir) = after_power_cut(place);
    assert_eq!(store.images.list().unwrap().len(), 1);
    for name in [NAME, "durable", "moved twice"] {
        assert_eq!(store.images.get(name).unwrap(), Some(kept.clone()), "{name}");
    }
    assert_eq!(store.images.get("new").unwrap(), None);
    assert!(has(&store, &layers));
    let index = fs::read_to_string(dir.path().join("index.json")).unwrap();
    assert!(index.contains(kept.digest.as_str()) && !index.contains(lost.digest.as_str()));
    assert!(store.syncer.is_synced().unwrap());
}

#[test]
fn what_a_power_cut_took_is_not_there() {
    let place = place();
    let lease = place.leases.create().unwrap();
    let kept = two_layers(&place, &lease, "kept");
    place.syncer.sync().unwrap();
    let lost = two_layers(&place, &lease, "lost");
    let blob = place.content.put("x", b"lost").unwrap();
    drop(lease);
    let (store, dir) = after_power_cut(place);
    assert!(has(&store, &kept));
    assert!(!has(&store, &lost) && !has(&store, &lost[..1]));
    assert!(store.content.info(&blob.digest).unwrap().is_none());
    assert!(!store.content.path(&blob.digest).exists());
    assert_eq!(store.collect().unwrap().snapshots, 4);
    assert_eq!(fs::read_dir(dir.path().join("snapshots")).unwrap().count(), 0);
}

#[test]
fn collection_keeps_what_is_needed_and_only_that() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let (tagged, garbage) = (two_layers(&store, &lease, "tagged"), two_layers(&store, &lease, "garbage"));
    let descriptor = image(&store, NAME, &tagged, "");
    let packed = store.layers.blob_of(&lease, &diff_ids(&tagged), 1, Packing::of(Compression::Gzip)).unwrap();
    assert_eq!(store.collect().unwrap(), Default::default(), "what a lease holds was collected");
    drop(lease);
    let pruned = store.collect().unwrap();
    assert_eq!((pruned.snapshots, pruned.blobs), (2, 0));
    assert_eq!(pruned.freed, garbage.iter().map(|layer| layer.size).sum::<u64>());
    assert!(has(&store, &tagged) && !has(&store, &garbage[..1]));
    assert!(store.content.info(&packed.digest).unwrap().is_some());
    assert_eq!(store.usage().unwrap().images.count, 1);

    // A container keeps its image although the name goes.
    let held = Resource::Image(descriptor.digest.clone());
    store.leases.pin("container", "c", &held).unwrap();
    assert!(store.prune(&prune(ImagePrune::Unused, true)).unwrap().images.is_empty());
    store.leases.unpin("container", "c").unwrap();
    let pruned = store.prune(&prune(ImagePrune::Unused, true)).unwrap();
    assert_eq!(
        (pruned.images.len(), pruned.images[0].names.len(), pruned.snapshots, pruned.blobs),
        (1, 1, 2, 3)
    );
    assert_eq!(store.usage().unwrap(), Default::default());
    assert!(store.check(false).unwrap().is_empty());
}

#[test]
fn an_index_keeps_every_image_of_it_that_is_here() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let (first, second) = (two_layers(&store, &lease, "amd64"), two_layers(&store, &lease, "arm64"));
    let absent = Descriptor::of(MediaType::OCI_MANIFEST, b"absent");
    let mut entries = vec![absent];
    for (number, layers) in [&first, &second].into_iter().enumerate() {
        entries.push(image(&store, &number.to_string(), layers, ""));
    }
    let root = store.content.put(MediaType::OCI_INDEX, &Index::new(entries).to_bytes()).unwrap();
    store.images.set(NAME, &root).unwrap();
    for name in ["0", "1"] {
        store.images.delete(name).unwrap();
    }
    drop(lease);
    assert_eq!(store.collect().unwrap(), Default::default(), "the index needs all of it");
    assert!(has(&store, &first) && has(&store, &second));
    store.images.delete(NAME).unwrap();
    let pruned = store.collect().unwrap();
    assert_eq!((pruned.snapshots, pruned.blobs), (4, 5));
}

#[test]
fn a_container_that_stands_on_a_snapshot_keeps_it() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let layers = two_layers(&store, &lease, "x");
    let key = kiln_snapshot::Key("container".to_owned());
    store.snapshots.prepare(&key, Some(&name_of(&ChainId::of(&diff_ids(&layers)).unwrap()))).unwrap();
    store.leases.pin("container", "c", &Resource::Active(key)).unwrap();
    drop(lease);
    assert_eq!(store.collect().unwrap().snapshots, 0);
    store.leases.unpin("container", "c").unwrap();
    assert_eq!(store.collect().unwrap().snapshots, 2);
}

#[test]
fn dangling_images_only() {
    let store = place();
    image(&store, NAME, &[], "old");
    image(&store, NAME, &[], "new");
    let recent = PruneOptions { before: Some(std::time::UNIX_EPOCH), ..prune(ImagePrune::Dangling, false) };
    assert!(store.prune(&recent).unwrap().images.is_empty());
    let pruned = store.prune(&prune(ImagePrune::Dangling, false)).unwrap();
    assert_eq!((pruned.images.len(), pruned.blobs), (1, 2));
    assert_eq!(store.images.list().unwrap().len(), 1);
}

#[test]
fn build_results_keep_their_layers() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let layers = two_layers(&store, &lease, "x");
    let (key, other) = (Digest::of(b"content key"), Digest::of(b"definition key"));
    let part = Part { name: "file a".to_owned(), value: "1".to_owned() };
    let record = Record { layers: layers.clone(), scope: "[2/2] RUN make".to_owned(), parts: vec![part] };
    store.records.save(&key, &record).unwrap();
    store.records.alias(&other, &key).unwrap();
    drop(lease);
    assert_eq!(store.collect().unwrap().snapshots, 0);
    assert_eq!(store.records.lookup(&key).unwrap(), Some(record.clone()));
    assert_eq!(store.records.lookup(&other).unwrap(), Some(record.clone()));
    assert_eq!(store.records.lookup(&Digest::of(b"no")).unwrap(), None);
    assert_eq!(store.records.similar("[2/", 9).unwrap(), [record]);
    for (prefix, limit) in [("[2/3", 9), ("[1/", 9), ("[3/", 9), ("[2/", 0)] {
        assert_eq!(store.records.similar(prefix, limit).unwrap(), [], "{prefix} {limit}");
    }
    let pruned = store.prune(&prune(ImagePrune::Nothing, true)).unwrap();
    assert_eq!((pruned.records, pruned.snapshots), (1, 2));
    assert_eq!(store.records.lookup(&other).unwrap(), None);
}

#[test]
fn a_build_result_without_its_layers_is_none() {
    let store = place();
    let lease = store.leases.create().unwrap();
    let there = layer(&[("a", "b")]);
    let arriving = Arriving { descriptor: &there.descriptor, parent: &[], diff_id: &there.diff_id };
    let unpacked = store.layers.unpack_stream(&lease, arriving, &there.gzip[..]).unwrap();
    let key = Digest::of(b"key");
    let record = Record { layers: vec![unpacked.clone()], scope: String::new(), parts: Vec::new() };
    store.records.save(&key, &record).unwrap();
    drop(lease);
    // Without its snapshot there is still the blob.
    store.snapshots.remove(&name_of(&ChainId::of(&[unpacked.diff_id]).unwrap())).unwrap();
    assert!(store.records.lookup(&key).unwrap().is_some());
    store.content.delete(&there.descriptor.digest).unwrap();
    assert!(store.records.lookup(&key).unwrap().is_none());
}

#[test]
fn builds_and_prunes_of_two_stores_at_once() {
    let one = place();
    let two = open(one.dir.path());
    let build = |store: &Store, who: &str| {
        for round in 0..15 {
            let lease = store.leases.create().unwrap();
            let layers = two_layers(store, &lease, &format!("{who}{}", round % 5));
            let name = format!("docker.io/library/{who}:latest");
            image(store, &name, &layers, who);
            drop(lease);
            let tar = store.layers.open_tar(&diff_ids(&layers), 1).unwrap();
            std::io::copy(&mut { tar }, &mut std::io::sink()).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| build(&one, "a"));
        scope.spawn(|| build(&two, "b"));
        scope.spawn(|| {
            for _ in 0..20 {
                two.prune(&prune(ImagePrune::Dangling, true)).unwrap();
            }
        });
    });
    one.prune(&prune(ImagePrune::Dangling, true)).unwrap();
    assert!(two.check(false).unwrap().is_empty());
    assert_eq!(two.images.list().unwrap().len(), 2);
    assert_eq!(index(&two).len(), 2);
}
