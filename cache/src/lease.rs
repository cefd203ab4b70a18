//! Leases: what a running process needs survives garbage collection, and what it half made is found when it dies.
//!
//! A process that needs anything has one file in `leases/`, locked with `flock` as long as it lives, however it ends. Rows
//! in the database say what its leases hold. Whoever opens the store next and can lock such a file knows that its process
//! is dead, and releases what it held: that is all that recovery has to look at.
//!
//! Things that outlive processes, as a container's file system, are held by the *object* instead (see [`Leases::pin`]).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kiln_oci::Digest;
use kiln_snapshot::{Key, Name, Snapshotter};
use rusqlite::{Connection, params};

use crate::db::{Db, Durability, lock, now, unique};
use crate::error::{Error, IoContext, Result};

/// What can be held.
///
/// A blob, image or snapshot that is held is not collected. An active snapshot, cgroup or address that is held is removed
/// together with its lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Bytes in the content store.
    Blob(Digest),
    /// An image, by the digest of its manifest or index, with everything that it needs.
    Image(Digest),
    /// A committed snapshot, with its parents.
    Snapshot(Name),
    /// A snapshot that somebody writes to, with its parents.
    Active(Key),
    /// A control group, by its path below the hierarchies.
    Cgroup(String),
    /// A network address or another name that one holder at a time may have.
    Address(String),
}

impl Resource {
    fn kind(&self) -> &'static str {
        match self {
            Resource::Blob(_) => "blob",
            Resource::Image(_) => "image",
            Resource::Snapshot(_) => "snapshot",
            Resource::Active(_) => "active",
            Resource::Cgroup(_) => "cgroup",
            Resource::Address(_) => "address",
        }
    }

    fn name(&self) -> &str {
        match self {
            Resource::Blob(digest) | Resource::Image(digest) => digest.as_str(),
            Resource::Snapshot(name) => &name.0,
            Resource::Active(key) => &key.0,
            Resource::Cgroup(name) | Resource::Address(name) => name,
        }
    }

    fn parse(kind: &str, name: String) -> Option<Resource> {
        Some(match kind {
            "blob" => Resource::Blob(name.parse().ok()?),
            "image" => Resource::Image(name.parse().ok()?),
            "snapshot" => Resource::Snapshot(Name(name)),
            "active" => Resource::Active(Key(name)),
            "cgroup" => Resource::Cgroup(name),
            "address" => Resource::Address(name),
            _ => return None,
        })
    }
}

/// Removes a resource that the store does not know how to remove, as a cgroup; called again at the next start if it fails.
pub type Cleanup = Arc<dyn Fn(&Resource) -> std::io::Result<()> + Send + Sync>;

/// All leases of this process, and the recovery of others.
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    db: Arc<Db>,
    snapshots: Arc<dyn Snapshotter>,
    cleanup: Cleanup,
    process: Mutex<Option<Arc<ProcessFile>>>,
}

/// What recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Processes that died with leases.
    pub processes: usize,
    /// Resources that were removed or let go.
    pub released: usize,
    /// What could not be removed now, with the reason; the next start tries again.
    pub failed: Vec<String>,
}

impl Leases {
    pub(crate) fn new(dir: PathBuf, db: Arc<Db>, snapshots: Arc<dyn Snapshotter>, cleanup: Cleanup) -> Self {
        Leases { inner: Arc::new(Inner { dir, db, snapshots, cleanup, process: Mutex::default() }) }
    }

    /// A new lease, which holds nothing yet.
    pub fn create(&self) -> Result<Lease> {
        let process = self.process()?;
        let id = format!("{}.{}", process.name, unique());
        Ok(Lease { id, inner: Arc::clone(&self.inner), process })
    }

    /// Holds `resource` for an object (a container, say) until [`Leases::unpin`].
    pub fn pin(&self, kind: &str, id: &str, resource: &Resource) -> Result<()> {
        self.inner.hold(&object_owner(kind, id), resource)
    }

    /// Lets go of everything an object held, and removes what existed for it alone.
    pub fn unpin(&self, kind: &str, id: &str) -> Result<()> {
        let failed = self.inner.release_all(&object_owner(kind, id))?;
        match failed.into_iter().next() {
            None => Ok(()),
            Some(text) => Err(Error::Io {
                operation: "release what was held by",
                path: PathBuf::from(format!("{kind}/{id}")),
                source: std::io::Error::other(text),
            }),
        }
    }

    /// What an object holds.
    pub fn pinned(&self, kind: &str, id: &str) -> Result<Vec<Resource>> {
        let owner = object_owner(kind, id);
        self.inner.db.read("list holds", |db| held_by(db, &owner))
    }

    /// Releases what dead processes held. [`crate::Store::open`] does this; a daemon may repeat it.
    pub fn recover(&self) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for entry in fs::read_dir(&self.inner.dir).at("read directory", &self.inner.dir)? {
            let path = entry.at("read directory", &self.inner.dir)?.path();
            if let Some(file) = lock_if_dead(&path)? {
                self.inner.bury(&path, &mut recovered)?;
                drop(file);
            }
        }
        Ok(recovered)
    }

    /// The name of this process in the store: names its lease file and its files in `ingest/`.
    pub(crate) fn process(&self) -> Result<Arc<ProcessFile>> {
        let mut slot = lock(&self.inner.process);
        if let Some(process) = slot.as_ref() {
            return Ok(Arc::clone(process));
        }
        let process = Arc::new(ProcessFile::create(&self.inner.dir)?);
        *slot = Some(Arc::clone(&process));
        Ok(process)
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let process = lock(&self.process).take();
        if let Some(process) = process {
            // If this fails, the next start finds our file and does it.
            if self.release_all(&process.written()).is_err() {
                process.keep();
            }
        }
    }
}

impl Inner {
    fn hold(&self, owner: &str, resource: &Resource) -> Result<()> {
        self.db.write("hold", Durability::Relaxed, |db| insert(db, owner, resource))
    }

    /// Releases every hold of `owner`; those that fail stay, and their reasons are returned.
    fn release_all(&self, owner: &str) -> Result<Vec<String>> {
        let held = self.db.read("list holds", |db| held_by(db, owner))?;
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let (gone, failed) = self.remove_each(held);
        self.db.write("release", Durability::Relaxed, |db| {
            gone.iter().try_for_each(|it| delete(db, owner, it))
        })?;
        Ok(failed)
    }

    fn remove_each(&self, held: Vec<Resource>) -> (Vec<Resource>, Vec<String>) {
        let (mut gone, mut failed) = (Vec::new(), Vec::new());
        for resource in held {
            match self.remove(&resource) {
                Ok(()) => gone.push(resource),
                Err(reason) => failed.push(format!("{} `{}`: {reason}", resource.kind(), resource.name())),
            }
        }
        (gone, failed)
    }

    fn remove(&self, resource: &Resource) -> Result<(), String> {
        match resource {
            Resource::Active(key) => match self.snapshots.remove_active(key) {
                Err(error) if error.is_not_found() => Ok(()),
                result => result.map_err(|error| error.to_string()),
            },
            Resource::Cgroup(_) => (self.cleanup)(resource).map_err(|error| error.to_string()),
            Resource::Blob(_) | Resource::Image(_) | Resource::Snapshot(_) | Resource::Address(_) => Ok(()),
        }
    }

    /// Releases the leases of the dead process whose locked lease file is `path`.
    fn bury(&self, path: &Path, recovered: &mut Recovered) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let owners = self.db.read("list leases", |db| owners_of(db, &name))?;
        let mut failed = Vec::new();
        for owner in &owners {
            let before = self.db.read("list holds", |db| held_by(db, owner))?.len();
            let reasons = self.release_all(owner)?;
            recovered.released += before - reasons.len();
            failed.extend(reasons);
        }
        recovered.processes += 1;
        if failed.is_empty() {
            recovered.released += crate::content::remove_ingests_of(&self.dir, &name)?;
            fs::remove_file(path).at("remove", path)?;
        }
        recovered.failed.extend(failed);
        Ok(())
    }
}

/// Holds resources until it is dropped; what it still holds then and exists for it alone (active snapshots, cgroups) is
/// removed.
pub struct Lease {
    id: String,
    inner: Arc<Inner>,
    process: Arc<ProcessFile>,
}

impl Lease {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Holds `resource`. Hold first, then look whether it is there: what is there after that stays.
    pub fn hold(&self, resource: &Resource) -> Result<()> {
        self.inner.hold(&self.id, resource)
    }

    /// [`Lease::hold`] for several at once.
    pub fn hold_all(&self, resources: &[Resource]) -> Result<()> {
        self.inner.db.write("hold", Durability::Relaxed, |db| {
            resources.iter().try_for_each(|resource| insert(db, &self.id, resource))
        })
    }

    /// Holds the first of `candidates` that nobody holds, or none.
    pub fn claim(&self, candidates: impl IntoIterator<Item = Resource>) -> Result<Option<Resource>> {
        self.inner.db.write("claim", Durability::Relaxed, |db| {
            for candidate in candidates {
                if !is_held(db, &candidate)? {
                    insert(db, &self.id, &candidate)?;
                    return Ok(Some(candidate));
                }
            }
            Ok(None)
        })
    }

    /// Forgets `resource` without removing it.
    pub fn let_go(&self, resource: &Resource) -> Result<()> {
        self.inner.db.write("release", Durability::Relaxed, |db| delete(db, &self.id, resource))
    }

    /// Passes `resources` on to an object, which holds them from now on (see [`Leases::pin`]).
    pub fn hand_over(&self, resources: &[Resource], kind: &str, id: &str) -> Result<()> {
        let object = object_owner(kind, id);
        self.inner.db.write("hand over", Durability::Relaxed, |db| {
            resources.iter().try_for_each(|resource| {
                insert(db, &object, resource)?;
                delete(db, &self.id, resource)
            })
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What fails here stays in the database, and the next start removes it when it finds our lease file.
        if !matches!(self.inner.release_all(&self.id), Ok(failed) if failed.is_empty()) {
            self.process.keep();
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lease").field(&self.id).finish()
    }
}

/// The locked file that says that this process lives.
pub(crate) struct ProcessFile {
    pub(crate) name: String,
    path: PathBuf,
    _file: File,
    kept: std::sync::atomic::AtomicBool,
}

impl ProcessFile {
    fn create(dir: &Path) -> Result<ProcessFile> {
        loop {
            let name = format!("{}-{:x}-{}", std::process::id(), now(), unique());
            let path = dir.join(&name);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .at("create", &path)?;
            file.lock().at("lock", &path)?;
            // Between creating and locking, a recovering process may have taken it for a dead one's and removed it.
            if file.metadata().at("stat", &path)?.nlink() > 0 {
                return Ok(ProcessFile { name, path, _file: file, kept: false.into() });
            }
        }
    }

    /// The owner of the blobs that this process wrote and nothing has yet.
    pub(crate) fn written(&self) -> String {
        format!("{}.w", self.name)
    }

    /// Leaves the file for the next start to find.
    fn keep(&self) {
        self.kept.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Drop for ProcessFile {
    fn drop(&mut self) {
        if !self.kept.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn object_owner(kind: &str, id: &str) -> String {
    format!("{kind}/{id}")
}

/// The lease file of a dead process, locked so that nobody else buries it at the same time.
fn lock_if_dead(path: &Path) -> Result<Option<File>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        result => result.at("open", path)?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error).at("lock", path),
        Ok(()) => {}
    }
    let buried = file.metadata().at("stat", path)?.nlink() == 0;
    Ok((!buried).then_some(file))
}

/// Writes a hold, inside a transaction.
pub(crate) fn insert(db: &Connection, owner: &str, resource: &Resource) -> Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO holds (owner, kind, name) VALUES (?1, ?2, ?3)")?
        .execute(params![owner, resource.kind(), resource.name()])?;
    Ok(())
}

/// Deletes a hold, inside a transaction.
pub(crate) fn delete(db: &Connection, owner: &str, resource: &Resource) -> Result<()> {
    db.prepare_cached("DELETE FROM holds WHERE owner = ?1 AND kind = ?2 AND name = ?3")?.execute(params![
        owner,
        resource.kind(),
        resource.name()
    ])?;
    Ok(())
}

/// Whether anybody, dead or alive, holds `resource`.
pub(crate) fn is_held(db: &Connection, resource: &Resource) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT 1 FROM holds WHERE kind = ?1 AND name = ?2")?
        .exists(params![resource.kind(), resource.name()])?)
}

/// Forgets all holds on `resource`: it is now something else, as an active snapshot that was committed.
pub(crate) fn forget(db: &Connection, resource: &Resource) -> Result<()> {
    db.prepare_cached("DELETE FROM holds WHERE kind = ?1 AND name = ?2")?
        .execute(params![resource.kind(), resource.name()])?;
    Ok(())
}

/// Everything that anybody holds, with its owner.
pub(crate) fn all_held(db: &Connection) -> Result<Vec<(String, Resource)>> {
    let mut statement = db.prepare_cached("SELECT owner, kind, name FROM holds")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut held = Vec::new();
    for row in rows {
        let (owner, kind, name): (String, String, String) = row?;
        held.extend(Resource::parse(&kind, name).map(|resource| (owner, resource)));
    }
    Ok(held)
}

fn held_by(db: &Connection, owner: &str) -> Result<Vec<Resource>> {
    let mut statement =
        db.prepare_cached("SELECT kind, name FROM holds WHERE owner = ?1 ORDER BY kind DESC")?;
    let rows = statement.query_map([owner], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let rows: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|(kind, name)| Resource::parse(&kind, name)).collect())
}

/// The leases of a process: they are called `<process>.<number>`, and `/` is the character after `.`.
fn owners_of(db: &Connection, process: &str) -> Result<Vec<String>> {
    let mut statement =
        db.prepare_cached("SELECT DISTINCT owner FROM holds WHERE owner > ?1 AND owner < ?2")?;
    let rows = statement.query_map([format!("{process}."), format!("{process}/")], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
