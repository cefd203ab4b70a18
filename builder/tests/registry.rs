//! Images from and to a registry in this process.

mod common;

use std::sync::Arc;

use common::stores;
use kiln_builder::export::image::{Writing, store_image};
use kiln_builder::export::{Composed, Form, Reshape, compose, layers};
use kiln_builder::{
    Builder, Cause, Export, ImageOptions, Layers, Place, Reporter, Silent, Stores, pull, push,
    workspace::Workspace,
};
use kiln_cache::{ImagePrune, Lease, PruneOptions, Store};
use kiln_graph::{ActionInput, Definition, FileAction, FileOp, Op, SourceOp, VertexMeta};
use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Reference};
use kiln_sys::fs;
use kiln_test_support::registry::Registry;
use tempfile::TempDir;

fn platform() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn reporter() -> Arc<dyn Reporter> {
    Arc::new(Silent)
}

/// An image of two layers, each with a file, in a store of its own.
async fn push_an_image(target: &Reference) -> push::PushResult {
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    let (composed, store) = tokio::task::block_in_place(|| {
        let mut layers = Layers::scratch();
        for name in ["one", "two"] {
            let workspace = Workspace::on(&stores.store, &layers).unwrap();
            let root = workspace.root().unwrap();
            let mut file = fs::create_file(std::os::fd::AsFd::as_fd(&root), name, 0o644).unwrap();
            std::io::Write::write_all(&mut file, name.as_bytes()).unwrap();
            // The layer must be the same whenever the test makes it.
            let then = Some(fs::Time { seconds: 1, nanoseconds: 0 });
            fs::futimens(std::os::fd::AsFd::as_fd(&file), then, then).unwrap();
            fs::futimens(std::os::fd::AsFd::as_fd(&root), then, then).unwrap();
            drop((file, root));
            layers = workspace.commit().unwrap();
        }
        let lease = stores.store.leases.create().unwrap();
        let config = ImageConfig::empty(platform());
        let composed = composed(&stores.store, &lease, &layers, &config);
        store_image(&stores.store, &composed.descriptor, std::slice::from_ref(target)).unwrap();
        (composed, stores)
    });
    assert!(composed.manifest.layers.iter().all(|layer| layer.media_type.as_str() == MediaType::OCI_LAYER));
    push::push(&store, &composed.descriptor, target, None, &reporter()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_pulled_and_what_is_there_is_not_sent_again() {
    let registry = Registry::start();
    let target: Reference = format!("{}/team/app:1", registry.host()).parse().unwrap();
    let pushed = push_an_image(&target).await;
    assert_eq!((pushed.counts.uploaded, pushed.counts.existed), (3, 0));
    let manifest: Manifest = serde_json::from_slice(&registry.manifest("team/app", "1").unwrap()).unwrap();
    assert!(manifest.layers.iter().all(|layer| layer.media_type.as_str() == MediaType::OCI_LAYER_GZIP));
    let again = push_an_image(&target).await;
    assert_eq!((again.counts.uploaded, again.counts.existed), (0, 3));
    assert_eq!(again.descriptor.digest, pushed.descriptor.digest, "packing is deterministic");

    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    let pulled = pull::pull(&stores, &target, &platform(), &Silent).await.unwrap();
    assert!(pulled.changed);
    assert_eq!(pulled.image.root.digest, pushed.descriptor.digest);
    let named = stores.store.images.get(&target.to_string()).unwrap().unwrap();
    assert_eq!(named.digest, pushed.descriptor.digest);
    let names = tokio::task::block_in_place(|| {
        let view = kiln_builder::workspace::View::of(&stores.store, &pulled.image.layers()).unwrap();
        let root = view.root().unwrap();
        let dir = root.open_dir(".").unwrap();
        let mut names: Vec<_> = fs::read_dir(std::os::fd::AsFd::as_fd(&dir))
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.sort();
        names
    });
    assert_eq!(names, ["one", "two"]);
    let gets = registry.count("GET", "/blobs/");
    let unchanged = pull::pull(&stores, &target, &platform(), &Silent).await.unwrap();
    assert!(!unchanged.changed);
    assert_eq!(registry.count("GET", "/blobs/"), gets, "nothing is downloaded twice");
    let elsewhere: Reference = format!("{}/other/app:1", registry.host()).parse().unwrap();
    let mounted = push::push(&stores, &named, &elsewhere, None, &reporter()).await.unwrap();
    assert!(mounted.counts.mounted >= 2, "{:?}", mounted.counts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_nobody_reads_is_not_downloaded() {
    let registry = Registry::start();
    let target: Reference = format!("{}/base:1", registry.host()).parse().unwrap();
    push_an_image(&target).await;
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    let image = pull::resolve(&stores, &target, &platform(), &Silent).await.unwrap();
    assert_eq!(image.layers().stack().len(), 2);
    assert_eq!(registry.count("GET", "/blobs/"), 1, "only the configuration");
    pull::unpack(&stores, &image.layers(), &Silent).await.unwrap();
    assert_eq!(registry.count("GET", "/blobs/"), 3);
}

/// The documents of an image whose layers are named as they are in the store.
fn composed(store: &Arc<Store>, lease: &Lease, stack: &Layers, config: &ImageConfig) -> Composed {
    let layers = layers(store, lease, stack, &Reshape::into_form(Form::AsStored)).unwrap();
    compose(store, lease, &layers, config, &Writing::default()).unwrap()
}

/// An image in the store whose layers are all at `base`'s registry.
async fn image_on_a_lazy_base(stores: &Arc<Stores>, base: &Reference) -> Descriptor {
    let base = pull::resolve(stores, base, &platform(), &Silent).await.unwrap();
    tokio::task::block_in_place(|| {
        let lease = stores.store.leases.create().unwrap();
        let mut config = base.config.clone();
        config.config.cmd = Some(vec!["/app".to_owned()]);
        let composed = composed(&stores.store, &lease, &base.layers(), &config);
        let name: Reference = "here/app:1".parse().unwrap();
        store_image(&stores.store, &composed.descriptor, &[name]).unwrap();
        composed.descriptor
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_nobody_read_is_mounted_beside_it_and_fetched_for_elsewhere() {
    let registry = Registry::start();
    let base: Reference = format!("{}/base:1", registry.host()).parse().unwrap();
    push_an_image(&base).await;
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    let image = image_on_a_lazy_base(&stores, &base).await;
    let gets = registry.count("GET", "/blobs/");

    let beside: Reference = format!("{}/team/app:1", registry.host()).parse().unwrap();
    let pushed = push::push(&stores, &image, &beside, None, &reporter()).await.unwrap();
    assert_eq!((pushed.counts.mounted, pushed.counts.uploaded), (2, 1), "the configuration is new");
    assert_eq!(registry.count("GET", "/blobs/"), gets);

    let other = Registry::start();
    let elsewhere: Reference = format!("{}/team/app:1", other.host()).parse().unwrap();
    let pushed = push::push(&stores, &image, &elsewhere, None, &reporter()).await.unwrap();
    assert_eq!(pushed.counts.uploaded, 3);
    assert_eq!(registry.count("GET", "/blobs/"), gets + 2, "each layer is fetched once");
    let manifest: Manifest = serde_json::from_slice(&other.manifest("team/app", "1").unwrap()).unwrap();
    for layer in &manifest.layers {
        assert_eq!(other.blob("team/app", &layer.digest).unwrap().len() as u64, layer.size);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let registry = Registry::start();
    let target: Reference = format!("{}/base:1", registry.host()).parse().unwrap();
    let pushed = push_an_image(&target).await;
    let mut entry =
        Descriptor::new(MediaType::OCI_MANIFEST, pushed.descriptor.digest.clone(), pushed.descriptor.size);
    entry.platform = Some(platform());
    let index = Index::new(vec![entry]);
    registry.put_manifest("base", "multi", MediaType::OCI_INDEX, index.to_bytes());
    let multi: Reference = format!("{}/base:multi", registry.host()).parse().unwrap();
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    let image = pull::resolve(&stores, &multi, &platform(), &Silent).await.unwrap();
    assert_eq!(image.descriptor.digest, pushed.descriptor.digest);
    assert_eq!(image.reference.digest(), Some(&image.root.digest));
    let arm: Platform = "linux/arm64".parse().unwrap();
    let error = pull::resolve(&stores, &multi, &arm, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("there is no image for platform `linux/arm64`"), "{error}");
    assert_eq!(error.hint(), Some("it is there for linux/amd64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_in_indexes_are_followed_four_levels_and_no_further() {
    let registry = Registry::start();
    let target: Reference = format!("{}/base:1", registry.host()).parse().unwrap();
    let image = push_an_image(&target).await.descriptor;
    let mut inner = Descriptor { platform: Some(platform()), ..image.clone() };
    let mut put = |tag: &str| {
        let bytes = Index::new(vec![inner.clone()]).to_bytes();
        inner = Descriptor::of(MediaType::OCI_INDEX, &bytes);
        registry.put_manifest("base", tag, MediaType::OCI_INDEX, bytes.clone());
        registry.put_manifest("base", inner.digest.as_str(), MediaType::OCI_INDEX, bytes);
        format!("{}/base:{tag}", registry.host()).parse::<Reference>().unwrap()
    };
    let levels: Vec<Reference> = ["one", "two", "three", "four", "five"].map(&mut put).to_vec();
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    for reference in &levels[..4] {
        let found = pull::resolve(&stores, reference, &platform(), &Silent).await.unwrap();
        assert_eq!(found.descriptor.digest, image.digest, "{reference}");
    }
    let error = pull::resolve(&stores, &levels[4], &platform(), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("nested deeper than 4 levels"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_that_is_here_in_part_that_part_is_pushed() {
    let registry = Registry::start();
    let from: Reference = format!("{}/base:1", registry.host()).parse().unwrap();
    let image = push_an_image(&from).await.descriptor;
    let entry = |platform: &str, of: &Descriptor| Descriptor {
        platform: Some(platform.parse().unwrap()),
        ..of.clone()
    };
    let absent = Descriptor::of(MediaType::OCI_MANIFEST, b"absent");
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    pull::pull(&stores, &from, &platform(), &Silent).await.unwrap();
    let push = async |tag: &str, manifests: Vec<Descriptor>| {
        let index = Index::new(manifests).to_bytes();
        let root = stores.store.content.put(MediaType::OCI_INDEX, &index).unwrap();
        let target: Reference = format!("{}/team/app:{tag}", registry.host()).parse().unwrap();
        let pushed = push::push(&stores, &root, &target, None, &reporter()).await.unwrap();
        let left_out: Vec<String> = pushed.left_out.iter().map(ToString::to_string).collect();
        (root.digest == pushed.descriptor.digest, registry.manifest("team/app", tag).unwrap(), left_out)
    };

    let whole = vec![entry("linux/amd64", &image), entry("linux/arm64", &image)];
    let (same, _, left_out) = push("whole", whole.clone()).await;
    assert!(same && left_out.is_empty(), "an index that is here goes as it is");

    let statement = entry("unknown/unknown", &Descriptor::of(MediaType::OCI_MANIFEST, b"statement"));
    let part = [whole, vec![entry("linux/s390x", &absent), statement]].concat();
    let (same, bytes, left_out) = push("part", part).await;
    let index: Index = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((same, index.manifests.len(), left_out), (false, 2, vec!["linux/s390x".to_owned()]));

    let one = vec![entry("linux/amd64", &image), entry("linux/s390x", &absent)];
    let (_, bytes, left_out) = push("one", one).await;
    assert_eq!(Digest::of(&bytes), image.digest, "one image alone needs no index");
    assert_eq!(left_out, ["linux/s390x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let registry = Registry::start();
    let target: Reference = format!("{}/base:1", registry.host()).parse().unwrap();
    push_an_image(&target).await;
    let mut manifest: Manifest = serde_json::from_slice(&registry.manifest("base", "1").unwrap()).unwrap();
    let config: ImageConfig =
        serde_json::from_slice(&registry.blob("base", &manifest.config.digest).unwrap()).unwrap();
    let mut lying = config.clone();
    lying.rootfs.diff_ids.swap(0, 1);
    let lying = lying.to_bytes();
    registry.put_blob("base", lying.clone());
    manifest.config = Descriptor::of(MediaType::OCI_CONFIG, &lying);
    registry.put_manifest("base", "lying", MediaType::OCI_MANIFEST, manifest.to_bytes());
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    let lying: Reference = format!("{}/base:lying", registry.host()).parse().unwrap();
    let error = pull::pull(&stores, &lying, &platform(), &Silent).await.unwrap_err();
    assert!(matches!(error, Cause::Cache(_)), "{error:?}");
    assert!(stores.store.images.get(&lying.to_string()).unwrap().is_none());
}

/// What a layer had stays known when its files are gone: a file that is put on it needs none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_whose_shape_is_known_is_not_downloaded_for_a_copy() {
    let registry = Registry::start();
    let base: Reference = format!("{}/base:1", registry.host()).parse().unwrap();
    push_an_image(&base).await;
    let dir = TempDir::new().unwrap();
    let stores = stores(&dir);
    pull::pull(&stores, &base, &platform(), &Silent).await.unwrap();
    stores.store.prune(&PruneOptions { images: ImagePrune::Unused, ..PruneOptions::default() }).unwrap();
    let snapshots = dir.path().join("state/snapshots");
    assert_eq!(std::fs::read_dir(&snapshots).unwrap().count(), 0);

    let mut definition = Definition::new();
    let source = SourceOp::Image { reference: base.clone(), platform: platform() };
    let below = definition.add(Op::Source(source), vec![], VertexMeta::named("base")).unwrap().output();
    let file = FileAction::Mkfile {
        input: ActionInput::Input(0),
        path: "/deep/three".to_owned(),
        data: b"three".to_vec(),
        mode: 0o644,
        owner: None,
    };
    let file = Op::File(FileOp { actions: vec![file] });
    let root = definition.add(file, vec![below], VertexMeta::named("file")).unwrap().output();
    let app: Reference = format!("{}/app:1", registry.host()).parse().unwrap();
    let image = ImageOptions::named(vec![app.clone()]);
    let job = common::job(definition, Some(root), vec![Export::Image { image, place: Place::default() }]);
    let configs = registry.count("GET", "/blobs/") + 1;
    let built = Builder::new(stores.clone()).build(job).await.unwrap();
    let pushed = push::push(&stores, &built.images[0].manifest, &app, None, &reporter()).await.unwrap();
    assert_eq!((pushed.counts.mounted, pushed.counts.uploaded), (2, 2));
    assert_eq!(registry.count("GET", "/blobs/"), configs, "no layer was downloaded");
    assert_eq!(stores.store.layers.counts().unpacked, 2, "by the pull");
    assert_eq!(std::fs::read_dir(&snapshots).unwrap().count(), 0);
}
