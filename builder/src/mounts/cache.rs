//! `RUN --mount=type=cache`: a directory that outlives the build.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::{CacheDir, CacheDirId, Sharing};
use kiln_graph::{CacheSharing, Mount};
use kiln_runtime::{MountKind, Tree};
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_sys::fs::{self, Owner, Root};
use kiln_sys::mount::clone_beneath;

use super::{Preparing, bind, relative};
use crate::error::Cause;
use crate::value::Value;

/// The directories that a process has taken, by id and beginning.
pub(super) type Taken = BTreeMap<(String, String), Arc<CacheDir>>;

/// A cache mount, taken apart.
struct CacheMount<'a> {
    input: Option<u32>,
    source: &'a str,
    target: &'a str,
    readonly: bool,
    id: &'a str,
    sharing: Sharing,
    mode: u32,
    owner: Owner,
}

impl<'a> CacheMount<'a> {
    fn of(mount: &'a Mount) -> Option<Self> {
        let Mount::Cache { input, source, target, readonly, id, sharing, mode, uid, gid } = mount else {
            return None;
        };
        let sharing = match sharing {
            CacheSharing::Shared => Sharing::Shared,
            CacheSharing::Private => Sharing::Private,
            CacheSharing::Locked => Sharing::Locked,
        };
        let (input, readonly, mode) = (*input, *readonly, *mode);
        let owner = Owner { uid: *uid, gid: *gid };
        Some(CacheMount { input, source, target, readonly, id, sharing, mode, owner })
    }

    /// Where in the directory the mount leads. One with a beginning begins with what `source` is of its base.
    fn inside(&self) -> &str {
        if self.input.is_some() { "/" } else { self.source }
    }
}

impl Preparing<'_> {
    /// Takes every cache directory that `mounts` name, one after the other in one order for all processes: two that each
    /// have what the other waits for would wait for ever. One that is mounted twice is taken once.
    pub(super) fn take_caches(&mut self, mounts: &[Mount]) -> Result<Taken, Cause> {
        let mut wanted: BTreeMap<(String, String), CacheMount<'_>> = BTreeMap::new();
        for mount in mounts.iter().filter_map(CacheMount::of) {
            wanted.entry((mount.id.to_owned(), self.beginning(&mount)?)).or_insert(mount);
        }
        let mut taken = Taken::new();
        for (key, mount) in wanted {
            let id = CacheDirId { name: &key.0, beginning: &key.1 };
            let fill = |new: &Path| self.fill(&mount, new);
            let dir = self.stores.store.cache_dirs.acquire(id, mount.sharing, self.cancelled, &fill)?;
            taken.insert(key, Arc::new(dir));
        }
        Ok(taken)
    }

    /// What a new directory begins with, in words; empty for an empty one of root's.
    fn beginning(&self, mount: &CacheMount<'_>) -> Result<String, Cause> {
        let Owner { uid, gid } = mount.owner;
        let base = match mount.input {
            Some(_) => format!("{} {}", self.value(mount.input)?.digest(), relative(mount.source).display()),
            None => String::new(),
        };
        Ok(match (base.as_str(), mount.mode, uid, gid) {
            ("", 0o755, 0, 0) => base,
            (base, mode, uid, gid) => format!("{base} {mode:o} {uid}:{gid}"),
        })
    }

    fn fill(&self, mount: &CacheMount<'_>, new: &Path) -> Result<(), Cause> {
        let root = Root::open(new)?;
        if mount.input.is_some() {
            let (from, _guard) = match &self.value(mount.input)? {
                Value::Layers(layers) => bind::viewed(self.stores, layers)?,
                Value::Files(files) => bind::copied(self.stores, files, mount.source)?,
            };
            copy(&from, &relative(mount.source), &root, Path::new("."), &CopyOptions::exact())?;
        }
        fs::fchown(root.as_fd(), mount.owner)?;
        Ok(fs::fchmod(root.as_fd(), mount.mode)?)
    }

    /// Mounts one of the directories that were taken.
    pub(super) fn cache(&mut self, mount: &Mount, taken: &Taken) -> Result<(), Cause> {
        let Some(mount) = CacheMount::of(mount) else { return Ok(()) };
        let key = (mount.id.to_owned(), self.beginning(&mount)?);
        let Some(dir) = taken.get(&key) else {
            return Err(Cause::Invalid(format!("the cache mount `{}` was not taken", mount.id)));
        };
        let (root, path) = (Root::open(dir.path())?, relative(mount.inside()));
        // Another process may change the directory now: what was found is bound, not what is there later.
        let tree = match clone_beneath(&root, &path) {
            Err(error) if error.is_not_found() => {
                root.create_dir_all(&path, mount.mode, Some(mount.owner))?;
                clone_beneath(&root, &path)?
            }
            other => other?,
        };
        self.push(MountKind::Tree(Tree(Arc::new(tree))), mount.target, mount.readonly);
        self.prepared.guards.push(Box::new(dir.clone()));
        Ok(())
    }
}
