//! A store: one root directory with everything in it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::layout;
use kiln_snapshot::{MetaStore, NativeSnapshotter, OverlaySnapshotter, Snapshotter};

use crate::cache_dirs::CacheDirs;
use crate::content::LocalContent;
use crate::context_index::ContextIndexes;
use crate::db::{DATABASE, Db};
use crate::error::{Error, IoContext, Result};
use crate::images::ImageStore;
use crate::layers::LayerStore;
use crate::lease::{Cleanup, Leases, Recovered};
use crate::meta::SqliteMeta;
use crate::objects::Objects;
use crate::records::BuildCache;
use crate::referrers::Referrers;
use crate::sources::Sources;
use crate::sync::{self, Syncer};

/// Who may pass through the root: containers' users must reach what is mounted from beneath it, and list nothing.
const ROOT_MODE: u32 = 0o711;
/// The directories of a root, with their modes. Others than the owner must not reach set-user-ID files of layers, nor blobs.
const DIRECTORIES: [(&str, u32); 10] = [
    ("blobs", 0o700),
    ("blobs/sha256", 0o700),
    ("blobs/sha384", 0o700),
    ("blobs/sha512", 0o700),
    ("ingest", 0o700),
    ("snapshots", 0o700),
    ("leases", 0o700),
    ("cachemounts", 0o700),
    ("volumes", 0o711),
    ("containers", 0o711),
];

/// Which snapshot driver a store uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SnapshotterKind {
    /// Overlayfs.
    #[default]
    Overlay,
    /// Full copies.
    Native,
}

/// How a store is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// The snapshot driver.
    pub snapshotter: SnapshotterKind,
    /// Removes what the store does not know how to remove: cgroups of dead processes.
    pub cleanup: Cleanup,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { snapshotter: SnapshotterKind::default(), cleanup: Arc::new(|_| Ok(())) }
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions").field("snapshotter", &self.snapshotter).finish_non_exhaustive()
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// Bytes by digest.
    pub content: LocalContent,
    /// The database.
    pub db: Arc<Db>,
    /// Images by name.
    pub images: ImageStore,
    /// Layers and their forms.
    pub layers: LayerStore,
    /// What is said about images.
    pub referrers: Referrers,
    /// Build results.
    pub records: BuildCache,
    /// What this process needs.
    pub leases: Leases,
    /// Filesystem states.
    pub snapshots: Arc<dyn Snapshotter>,
    /// Where blobs can be fetched or mounted from.
    pub sources: Sources,
    /// Digests of the files of build contexts.
    pub contexts: ContextIndexes,
    /// Directories of `RUN --mount=type=cache`.
    pub cache_dirs: CacheDirs,
    /// Makes things durable.
    pub syncer: Syncer,
    /// What opening it found of dead processes.
    pub recovered: Recovered,
    root: PathBuf,
}

impl Store {
    /// Opens the store at `root`, makes it if it is not there, and removes what dead processes left.
    pub fn open(root: &Path, options: &StoreOptions) -> Result<Store> {
        create_tree(root)?;
        let root = &fs::canonicalize(root).at("resolve", root)?;
        let db = Arc::new(Db::open(&root.join(DATABASE))?);
        let meta = Arc::new(SqliteMeta::new(Arc::clone(&db)));
        let snapshots = open_snapshotter(root, options.snapshotter, meta)?;
        let cleanup = Arc::clone(&options.cleanup);
        let leases = Leases::new(root.join("leases"), Arc::clone(&db), Arc::clone(&snapshots), cleanup);
        let content = LocalContent::new(root, Arc::clone(&db), leases.clone());
        let syncer = Syncer::new(root.clone(), Arc::clone(&db));
        let mut store = Store {
            images: ImageStore::new(root, Arc::clone(&db), content.clone()),
            layers: LayerStore::new(Arc::clone(&db), content.clone(), Arc::clone(&snapshots)),
            referrers: Referrers::new(Arc::clone(&db), content.clone()),
            records: BuildCache::new(Arc::clone(&db)),
            sources: Sources::new(Arc::clone(&db)),
            contexts: ContextIndexes::new(Arc::clone(&db)),
            cache_dirs: CacheDirs::new(root.join("cachemounts"), Arc::clone(&db)),
            recovered: Recovered::default(),
            root: root.clone(),
            content,
            db,
            leases,
            snapshots,
            syncer,
        };
        store.recover()?;
        Ok(store)
    }

    /// The root directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The documents of a kind.
    pub fn objects(&self, kind: &'static str) -> Objects {
        Objects::new(Arc::clone(&self.db), kind)
    }

    /// The work is proportional to what was half made; in a store whose processes all ended well it is a look at two
    /// lists that are empty.
    fn recover(&mut self) -> Result<()> {
        let lost = sync::drop_lost(&self.db, |digest| self.content.path(digest))?;
        self.recovered = self.leases.recover()?;
        if self.recovered.processes > 0 {
            // Another process may be removing the same directories: a matter for the next time, not a reason to stop.
            let left = self.snapshots.clean().err().map(|error| format!("snapshots: {error}"));
            self.recovered.failed.extend(left);
        }
        if self.recovered.processes > 0 || lost != sync::Lost::default() {
            self.images.repair_index()?;
        }
        Ok(())
    }
}

fn open_snapshotter(
    root: &Path,
    kind: SnapshotterKind,
    meta: Arc<dyn MetaStore>,
) -> Result<Arc<dyn Snapshotter>> {
    let dir = root.join("snapshots");
    let opened: kiln_snapshot::Result<Arc<dyn Snapshotter>> = match kind {
        SnapshotterKind::Overlay => OverlaySnapshotter::open(&dir, meta).map(|it| Arc::new(it) as _),
        SnapshotterKind::Native => NativeSnapshotter::open(&dir, meta).map(|it| Arc::new(it) as _),
    };
    let object = dir.display().to_string();
    opened.map_err(|source| Error::Snapshot { operation: "open snapshots", object, source })
}

/// Makes the directories of a root, and marks it as an OCI image layout once everything else is there.
fn create_tree(root: &Path) -> Result<()> {
    let mark = root.join(layout::LAYOUT_FILE);
    if mark.exists() {
        return Ok(());
    }
    fs::create_dir_all(root).at("create", root)?;
    fs::set_permissions(root, Permissions::from_mode(ROOT_MODE)).at("set the mode of", root)?;
    for (name, mode) in DIRECTORIES {
        create_dir(&root.join(name), mode)?;
    }
    create_file(&root.join(layout::INDEX_FILE), kiln_oci::Index::new(Vec::new()).to_bytes().as_slice())?;
    create_file(&mark, layout::LAYOUT.as_bytes())
}

/// The mode is set apart from the creation, which the process's umask restricts.
fn create_dir(path: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result.at("create", path)?,
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)
}

fn create_file(path: &Path, bytes: &[u8]) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.and_then(|mut file| file.write_all(bytes)).at("create", path),
    }
}
