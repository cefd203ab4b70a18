//! Layers on their way to a registry while they are packed.

mod common;

use std::sync::Arc;

use common::stores;
use kiln_builder::{BuildJob, Builder, Export, ImageOptions, Place, Silent, Stores, push};
use kiln_graph::{ActionInput, Definition, FileAction, FileOp, Op, VertexMeta};
use kiln_oci::{Manifest, Reference};
use kiln_test_support::registry::{Fault, Registry};
use tempfile::TempDir;

/// A build of a layer for each of these sizes, of bytes that cannot be compressed.
fn job(sizes: &[usize], target: &Reference, place: Place) -> BuildJob {
    let (mut definition, mut below) = (Definition::new(), None);
    for (number, size) in (0..).zip(sizes) {
        let input = if below.is_some() { ActionInput::Input(0) } else { ActionInput::Scratch };
        let data: Vec<u8> = (number..).map(noise).take(*size).collect();
        let file =
            FileAction::Mkfile { input, path: format!("/file{number}"), data, mode: 0o644, owner: None };
        let file = Op::File(FileOp { actions: vec![file] });
        let inputs = below.into_iter().collect();
        below = Some(definition.add(file, inputs, VertexMeta::named("file")).unwrap().output());
    }
    let image = ImageOptions::named(vec![target.clone()]);
    common::job(definition, below, vec![Export::Image { image, place }])
}

fn noise(number: u64) -> u8 {
    let mixed = (number ^ number >> 13).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()[7]
}

/// Every blob that the manifest at the registry names is there.
fn assert_complete(registry: &Registry, repository: &str, layers: usize) {
    let manifest: Manifest = serde_json::from_slice(&registry.manifest(repository, "1").unwrap()).unwrap();
    assert_eq!(manifest.layers.len(), layers);
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        let bytes = registry.blob(repository, &blob.digest).unwrap();
        assert_eq!(bytes.len() as u64, blob.size);
    }
}

async fn build(stores: &Arc<Stores>, job: BuildJob) -> kiln_oci::Descriptor {
    Builder::new(stores.clone()).build(job).await.unwrap().images[0].manifest.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_pushes_packs_and_sends_each_layer_once() {
    let registry = Registry::start();
    let target: Reference = format!("{}/app:1", registry.host()).parse().unwrap();
    let (dir, place) = (TempDir::new().unwrap(), Place { push: true, ..Place::default() });
    let stores = stores(&dir);
    let sizes = [3 << 20, 10, 2 << 20];
    build(&stores, job(&sizes, &target, place.clone())).await;
    assert_complete(&registry, "app", 3);
    assert_eq!(registry.count("PUT", "/blobs/uploads/"), 4, "each blob is sent once");
    assert_eq!(stores.store.layers.counts().packed, 3, "each layer is packed once");
    build(&stores, job(&sizes, &target, place)).await;
    assert_eq!(registry.count("PUT", "/blobs/uploads/"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_packs_and_sends_and_a_registry_that_breaks_off_gets_the_rest() {
    for fault in [None, Some(Fault::Status(500)), Some(Fault::Status(405)), Some(Fault::Reset(0))] {
        let registry = Registry::start();
        let target: Reference = format!("{}/app:1", registry.host()).parse().unwrap();
        let dir = TempDir::new().unwrap();
        let stores = stores(&dir);
        let built = build(&stores, job(&[4 << 20], &target, Place::default())).await;
        assert_eq!(stores.store.layers.counts().packed, 0);
        fault.iter().for_each(|fault| registry.fail("PATCH", "/blobs/uploads/", fault.clone(), 1));
        let pushed = push::push(&stores, &built, &target, None, &(Arc::new(Silent) as _)).await.unwrap();
        assert_eq!((pushed.counts.uploaded, pushed.counts.existed), (2, 0), "{fault:?}");
        assert_complete(&registry, "app", 1);
        assert!(registry.count("PATCH", "/blobs/uploads/") > 0, "it was sent when it was whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_build_that_fails_nothing_is_being_packed() {
    let target: Reference = "127.0.0.1:1/app:1".parse().unwrap();
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    let mut job = job(&[8 << 20], &target, Place { push: true, ..Place::default() });
    let mut definition = (*job.definition).clone();
    let copied = FileAction::Rm {
        input: ActionInput::Input(0),
        path: "/nothing".to_owned(),
        allow_wildcard: false,
        allow_missing: false,
    };
    let op = Op::File(FileOp { actions: vec![copied] });
    let below = job.targets[0].root.into_iter().collect();
    job.targets[0].root = Some(definition.add(op, below, VertexMeta::named("fails")).unwrap().output());
    job.definition = Arc::new(definition);
    assert!(Builder::new(stores.clone()).build(job).await.is_err());
    assert_eq!(std::fs::read_dir(dir.path().join("state/ingest")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_refused_is_told_by_its_name() {
    let registry = Registry::start();
    let target: Reference = format!("{}/app:1", registry.host()).parse().unwrap();
    registry.fail("POST", "/blobs/uploads/", Fault::Status(403), usize::MAX);
    let dir = TempDir::new().unwrap();
    let place = Place { push: true, ..Place::default() };
    let failed = Builder::new(stores(&dir)).build(job(&[3 << 20], &target, place)).await.unwrap_err();
    let error = format!("{:?}", failed.failure);
    assert!(error.contains("Push") && error.contains("403"), "{error}");
}
