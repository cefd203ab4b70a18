//! Layers that are described: packed without a directory, unpacked when somebody asks, and linked to those before them.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{open, place};
use kiln_cache::{Counts, Error, ImagePrune, LayerRef, Lease, PruneOptions, Store};
use kiln_oci::compression::Packing;
use kiln_oci::{ChainId, Compression, DiffId, Digest};
use kiln_snapshot::checksum::{ChecksumOptions, Listing};
use kiln_snapshot::copy::{CopyOptions, Parents};
use kiln_snapshot::recipe::Taken;
use kiln_snapshot::{Draft, Recipe, Root, Shape, TarOptions, write_tar};

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(path, text)| write(dir.path(), path, text));
    dir
}

fn write(dir: &Path, path: &str, text: &str) {
    fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
    fs::write(dir.join(path), text).unwrap();
}

/// What is in `dir` as `/app` of a filesystem of which nothing else is known.
fn describe(dir: &Path) -> Recipe {
    let root = Root::open(dir).unwrap();
    let mut draft = Draft::on(Shape::of(None).unwrap());
    let source = draft.add_source(&root).unwrap();
    let options = ChecksumOptions::default();
    let mut listing = Listing::of(&root, Path::new("."), &options).unwrap().unwrap();
    listing.read(&root, &options).unwrap();

    let parents = Some(Parents { mode: 0o755, owner: kiln_sys::fs::Owner { uid: 0, gid: 0 } });
    let options = CopyOptions { parents, merge_metadata: false, ..CopyOptions::exact() };
    draft.copy(Taken { source, listing: &listing }, b"app", &options).unwrap();
    draft.finish()
}

fn commit(store: &Store, lease: &Lease, dir: &Path) -> LayerRef {
    store.layers.commit_recipe(lease, &mut describe(dir), None).unwrap()
}

/// Where the files of a layer on nothing are, unpacked if need be.
fn files(store: &Store, lease: &Lease, layer: &LayerRef) -> std::path::PathBuf {
    let name = store.layers.snapshot_of(lease, std::slice::from_ref(&layer.diff_id)).unwrap().unwrap();
    store.snapshots.layer_dir(&name).unwrap()
}

fn count(store: &Store, dir: &str) -> usize {
    fs::read_dir(store.root().join(dir)).unwrap().count()
}

#[test]
fn a_layer_is_packed_without_a_directory_and_unpacked_once() {
    let (place, dir) = (place(), folder(&[("a", "one"), ("sub/b", "two")]));
    std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
    fs::hard_link(dir.path().join("a"), dir.path().join("sub/same")).unwrap();
    let lease = place.leases.create().unwrap();
    let layer = commit(&place, &lease, dir.path());
    assert_eq!(
        (count(&place, "snapshots"), count(&place, "blobs/sha256"), count(&place, "ingest")),
        (0, 1, 0)
    );
    assert_eq!(place.layers.counts(), Counts { described: 1, ..Counts::default() });

    // What was taken may change: the layer is what it was.
    write(dir.path(), "a", "edited");
    let unpacked = files(&place, &lease, &layer);
    assert_eq!(fs::read_to_string(unpacked.join("app/a")).unwrap(), "one");
    assert_eq!(fs::read_link(unpacked.join("app/link")).unwrap(), Path::new("a"));
    assert_eq!(unpacked.join("app/sub/same").metadata().unwrap().nlink(), 2);
    files(&place, &lease, &layer);
    assert_eq!(place.layers.counts(), Counts { described: 1, unpacked: 1, ..Counts::default() });

    // Packing the directory gives the very bytes of the description.
    let name = kiln_cache::name_of(&ChainId::extend(None, &layer.diff_id));
    let changes = place.snapshots.layer_changes(&name).unwrap();
    let mut tar = Vec::new();
    write_tar(&changes.list, &changes.root, &mut tar, &TarOptions::default()).unwrap();
    assert_eq!(DiffId(Digest::of(&tar)), layer.diff_id);
    assert_eq!(tar.len() as u64, layer.size);
}

#[test]
fn a_file_that_changes_before_it_is_packed_is_an_error_that_names_it() {
    let (place, dir) = (place(), folder(&[("a", "one"), ("sub/b", "two")]));
    let lease = place.leases.create().unwrap();
    let cases: [(&str, &dyn Fn()); 3] = [
        ("sub/b", &|| write(dir.path(), "sub/b", "longer")),
        ("sub/b", &|| fs::remove_file(dir.path().join("sub/b")).unwrap()),
        ("a", &|| {
            // The same length and time: only the bytes tell.
            let seen = fs::metadata(dir.path().join("a")).unwrap().modified().unwrap();
            write(dir.path(), "a", "eno");
            let file = fs::File::options().append(true).open(dir.path().join("a")).unwrap();
            file.set_modified(seen).unwrap();
        }),
    ];
    for (path, change) in cases {
        write(dir.path(), "sub/b", "two");
        let mut recipe = describe(dir.path());
        change();
        let gzip = Some(Packing::of(Compression::Gzip));
        for made in [
            place.layers.commit_recipe(&lease, &mut recipe, None),
            place.layers.commit_unpacked(&lease, &mut recipe, &[], gzip),
        ] {
            let error = made.unwrap_err();
            assert!(error.to_string().contains(&format!("`{path}` changed while it was read")), "{error}");
            let left = ["blobs/sha256", "ingest", "snapshots"].map(|dir| count(&place, dir));
            assert_eq!(left, [0, 0, 0]);
        }
    }
}

#[test]
fn files_that_are_wanted_get_their_directory_and_their_blob_in_one_pass() {
    let (place, dir) = (place(), folder(&[("a", "one"), ("sub/b", &"two ".repeat(200_000))]));
    fs::hard_link(dir.path().join("a"), dir.path().join("sub/same")).unwrap();
    let lease = place.leases.create().unwrap();
    let gzip = Packing::of(Compression::Gzip);
    let mut recipe = describe(dir.path());
    let layer = place.layers.commit_unpacked(&lease, &mut recipe, &[], Some(gzip)).unwrap();
    let elsewhere = common::place();
    let lease_elsewhere = elsewhere.leases.create().unwrap();
    let again = elsewhere.layers.commit_recipe(&lease_elsewhere, &mut recipe, None).unwrap();
    assert_eq!(again, layer, "the tar is the same, whichever way it was made");
    let made = Counts { described: 1, packed: 1, ..Counts::default() };
    assert_eq!(place.layers.counts(), made);
    let sorts = ["snapshots", "blobs/sha256", "ingest"].map(|dir| count(&place, dir));
    assert_eq!(sorts, [1, 1, 0], "a directory, the packed layer and no tar");

    write(dir.path(), "a", "edited");
    let unpacked = files(&place, &lease, &layer);
    assert_eq!(fs::read_to_string(unpacked.join("app/a")).unwrap(), "one");
    assert_eq!(unpacked.join("app/sub/same").metadata().unwrap().nlink(), 2);
    let chain = std::slice::from_ref(&layer.diff_id);
    let packed = place.layers.blob_of(&lease, chain, 0, gzip).unwrap();
    assert_eq!(place.layers.counts(), made, "both forms are there");
    let of_the_tar = elsewhere.layers.blob_of(&lease_elsewhere, chain, 0, gzip).unwrap();
    assert_eq!(of_the_tar.digest, packed.digest);
}

#[test]
fn a_directory_that_is_written_at_once_is_linked_to_the_layer_before_too() {
    let names: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    let (place, dir) = (place(), tempfile::tempdir().unwrap());
    names.iter().for_each(|name| write(dir.path(), name, name));
    let lease = place.leases.create().unwrap();
    let commit = || place.layers.commit_unpacked(&lease, &mut describe(dir.path()), &[], None).unwrap();
    commit();
    assert_eq!(place.layers.counts().linked, 0);
    write(dir.path(), "f0", "changed");
    let second = commit();
    assert_eq!(place.layers.counts().linked, 19);
    let after = files(&place, &lease, &second).join("app");
    assert_eq!(fs::read_to_string(after.join("f0")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(after.join("f7")).unwrap(), "f7");
    assert_eq!(place.layers.counts(), Counts { described: 2, linked: 19, ..Counts::default() });
}

#[test]
fn files_that_did_not_change_are_linked_to_the_layer_before() {
    let names: Vec<String> = (0..20).map(|number| format!("d{}/f{number}", number % 3)).collect();
    let (place, dir) = (place(), tempfile::tempdir().unwrap());
    names.iter().for_each(|name| write(dir.path(), name, name));
    write(dir.path(), "large", &"x".repeat(1 << 20));
    let lease = place.leases.create().unwrap();
    let first = commit(&place, &lease, dir.path());
    let before = files(&place, &lease, &first);
    assert_eq!(place.layers.counts().linked, 0);

    write(dir.path(), "d0/f0", "changed");
    fs::set_permissions(dir.path().join("d1/f1"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let second = commit(&place, &lease, dir.path());
    let after = files(&place, &lease, &second);
    assert_eq!(place.layers.counts().linked, 19, "all but what changed its bytes or its mode");
    let ino = |dir: &Path, path: &str| dir.join("app").join(path).metadata().unwrap().ino();
    for name in names.iter().map(String::as_str).chain(["large"]) {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(fs::read_to_string(after.join("app").join(name)).unwrap(), text);
        let is_linked = ino(&before, name) == ino(&after, name);
        assert_eq!(is_linked, !["d0/f0", "d1/f1"].contains(&name), "{name}");
    }
    assert_eq!(fs::read_to_string(before.join("app/d0/f0")).unwrap(), "d0/f0");
}

#[test]
fn what_nothing_needs_is_forgotten_with_its_table_of_contents() {
    let (place, dir) = (place(), folder(&[("a", "one")]));
    let lease = place.leases.create().unwrap();
    let layer = commit(&place, &lease, dir.path());
    let chain = std::slice::from_ref(&layer.diff_id);
    let listed = place.layers.contents_of(&layer.diff_id).unwrap().unwrap();
    let paths: Vec<_> = listed.iter().map(|(change, _)| change.path.as_slice()).collect();
    assert_eq!(paths, [&b"app"[..], b"app/a"]);
    assert_eq!(listed[1].1, Digest::of(b"one").to_sha256());
    let known = place.layers.known(chain).unwrap().unwrap();
    assert_eq!((known.unpacked, known.above), (0, vec![listed]));
    assert!(place.layers.is_available(std::slice::from_ref(&layer)).unwrap());
    drop(lease);
    let everything =
        PruneOptions { images: ImagePrune::Unused, build_cache: true, ..PruneOptions::default() };
    let pruned = open(place.store.root()).prune(&everything).unwrap();
    assert_eq!(pruned.blobs, 1);
    assert!(place.layers.contents_of(&layer.diff_id).unwrap().is_none());
    assert!(place.layers.known(chain).unwrap().is_none());
    assert!(place.layers.get(chain).unwrap().is_none());
}

#[test]
fn more_layers_than_can_be_mounted_are_refused_before_any_work() {
    let place = place();
    let lease = place.leases.create().unwrap();
    let chain: Vec<DiffId> = (0..501).map(|number: i32| DiffId(Digest::of(&number.to_le_bytes()))).collect();
    let error = place.layers.snapshot_of(&lease, &chain).unwrap_err();
    let expected = "stack layers `the image`: 501 layers cannot be stacked: overlayfs takes at most 500";
    assert_eq!(error.to_string(), expected);
    assert!(matches!(place.layers.snapshot_of(&lease, &chain[1..]), Err(Error::NotFound { .. })));
}

#[test]
fn what_the_layer_before_has_is_read_in_its_tar() {
    const COUNT: u64 = 200;
    let (place, dir) = (place(), tempfile::tempdir().unwrap());
    let name = |number: u64| match number % 5 {
        // A path that its header has no room for.
        0 => format!("{}/f{number}", "long".repeat(30)),
        rest => format!("d{rest}/f{number}"),
    };
    (0..COUNT).for_each(|number| write(dir.path(), &name(number), &"text ".repeat(number as usize)));
    std::os::unix::fs::symlink("f1", dir.path().join("d1/link")).unwrap();
    let lease = place.leases.create().unwrap();
    let first = commit(&place, &lease, dir.path());
    assert_eq!(place.layers.counts().repeated, 0);

    write(dir.path(), &name(7), "changed");
    write(dir.path(), "d1/new", "new");
    fs::remove_file(dir.path().join(name(9))).unwrap();
    let mut recipe = describe(dir.path());
    // What is taken from the tar is not looked at where it is.
    write(dir.path(), &name(11), "edited meanwhile");
    let second = place.layers.commit_recipe(&lease, &mut recipe, None).unwrap();
    assert_eq!(place.layers.counts().repeated, COUNT - 2);
    let unpacked = files(&place, &lease, &second);
    let text = |path: &str| fs::read_to_string(unpacked.join("app").join(path)).unwrap();
    assert_eq!((text(&name(7)), text("d1/new")), ("changed".to_owned(), "new".to_owned()));
    assert_eq!(text(&name(11)), "text ".repeat(11));
    assert_eq!(text(&name(195)), "text ".repeat(195));

    // Bytes that rotted in the tar are not taken: they are read where the file is.
    let tar = place.content.path(&second.diff_id.0);
    let mut bytes = fs::read(&tar).unwrap();
    let at = bytes.windows(7).position(|bytes| bytes == b"changed").unwrap();
    bytes[at] = b'C';
    fs::remove_file(&tar).unwrap();
    fs::write(&tar, bytes).unwrap();
    write(dir.path(), &name(11), &"text ".repeat(11));
    write(dir.path(), "d1/newer", "newer");
    let third = place.layers.commit_recipe(&lease, &mut describe(dir.path()), None).unwrap();
    assert_eq!(
        fs::read_to_string(files(&place, &lease, &third).join("app").join(name(7))).unwrap(),
        "changed"
    );
    assert_ne!(first.diff_id, third.diff_id);
}
