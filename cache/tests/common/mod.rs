//! Stores in temporary directories, and layers and images to put into them.
#![allow(dead_code, unreachable_pub)]

use std::io::Write;
use std::os::fd::AsFd;

use kiln_cache::{LayerRef, Lease, Store, StoreOptions};
use kiln_oci::compression::{GzipWriter, Packing};
use kiln_oci::{Compression, Descriptor, DiffId, Digest, ImageConfig, Manifest, MediaType};
use tempfile::TempDir;

/// A store whose directory goes with it.
pub struct Place {
    pub store: Store,
    pub dir: TempDir,
}

impl std::ops::Deref for Place {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

pub fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    Place { store: open(dir.path()), dir }
}

pub fn open(root: &std::path::Path) -> Store {
    Store::open(root, &StoreOptions::default()).unwrap()
}

/// A layer with its bytes.
pub struct Layer {
    pub tar: Vec<u8>,
    pub gzip: Vec<u8>,
    pub diff_id: DiffId,
    pub descriptor: Descriptor,
}

/// A layer of these files.
pub fn layer(files: &[(&str, &str)]) -> Layer {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    packed(builder.into_inner().unwrap())
}

pub fn packed(tar: Vec<u8>) -> Layer {
    let gzip = gzip(&tar);
    let descriptor = Descriptor::of(MediaType::OCI_LAYER_GZIP, &gzip);
    Layer { diff_id: DiffId(Digest::of(&tar)), descriptor, tar, gzip }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzipWriter::at_level(Vec::new(), Packing::of(Compression::Gzip).level());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// Stores manifest and config of an image of these layers, and names it.
pub fn image(store: &Store, name: &str, layers: &[LayerRef], note: &str) -> Descriptor {
    let mut config: ImageConfig = serde_json::from_str(
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
    )
    .unwrap();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    config.config.labels.insert("note".to_owned(), note.to_owned());
    let config = store.content.put(MediaType::OCI_CONFIG, &config.to_bytes()).unwrap();
    let describe =
        |layer: &LayerRef| Descriptor::new(MediaType::OCI_LAYER, layer.diff_id.0.clone(), layer.size);
    let manifest = Manifest::new(config, layers.iter().map(describe).collect());
    let descriptor = store.content.put(MediaType::OCI_MANIFEST, &manifest.to_bytes()).unwrap();
    store.images.set(name, &descriptor).unwrap();
    descriptor
}

/// Does what a step of a build does: writes a file on `parent` and commits.
pub fn step(store: &Store, lease: &Lease, parent: &[DiffId], file: &str, content: &str) -> LayerRef {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let key = kiln_snapshot::Key(format!("step-{}-{number}", lease.id()));
    lease.hold(&kiln_cache::Resource::Active(key.clone())).unwrap();
    let base = store.layers.snapshot_of(lease, parent).unwrap();
    let mounts = store.snapshots.prepare(&key, base.as_ref()).unwrap();
    let root = kiln_snapshot::detached_root(&mounts).unwrap().into_fd();
    kiln_sys::fs::create_file(root.as_fd(), file, 0o644).unwrap().write_all(content.as_bytes()).unwrap();
    drop(root);
    store.layers.commit(lease, &key, parent).unwrap()
}

pub fn diff_ids(layers: &[LayerRef]) -> Vec<DiffId> {
    layers.iter().map(|layer| layer.diff_id.clone()).collect()
}
