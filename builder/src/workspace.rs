//! A filesystem being changed, and one being looked at; both are gone when dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_cache::Store;
use kiln_cache::lease::{Lease, Resource};
use kiln_snapshot::{Key, TarOptions};
use kiln_sys::fs::Root;
use kiln_sys::mount::Mount;

use crate::error::Cause;
use crate::value::Layers;

/// A writable filesystem on top of layers. Committed it becomes one more layer, dropped it never was.
#[derive(Debug)]
pub struct Workspace {
    held: Held,
    parent: Layers,
}

/// A read-only look at layers.
#[derive(Debug)]
pub struct View {
    held: Held,
}

/// An active snapshot and the lease by which a crash of ours is cleaned up.
#[derive(Debug)]
struct Held {
    store: Arc<Store>,
    key: Key,
    mounts: Vec<Mount>,
    /// Whether it became a layer, so that nothing is left to remove.
    committed: bool,
    // Outlives the snapshot: should this process die, the next one removes what the lease holds.
    lease: Arc<Lease>,
}

/// Who works in a snapshot or looks at one; the layers must be on this machine, in any form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
}

impl Held {
    fn new(store: &Arc<Store>, layers: &Layers, access: Access, group: Option<&str>) -> Result<Held, Cause> {
        let key = fresh_key();
        let lease = Arc::new(store.leases.create()?);
        let parent = match layers.is_held() {
            true => layers.chain_id().map(|chain| kiln_cache::name_of(&chain)),
            // Layers that are here and packed are unpacked; those that are elsewhere are not.
            false => store.layers.snapshot_of(&lease, &layers.diff_ids())?,
        };
        let group = group.map(|parent| Resource::Cgroup(format!("{parent}/{key}")));
        let held: Vec<_> = group.into_iter().chain([Resource::Active(key.clone())]).collect();
        lease.hold_all(&held)?;
        let mounts = match access {
            Access::Write => store.snapshots.prepare(&key, parent.as_ref()),
            Access::Read => store.snapshots.view(&key, parent.as_ref()),
        }?;
        Ok(Held { store: store.clone(), key, mounts, committed: false, lease })
    }

    fn root(&self) -> Result<Root, Cause> {
        match self.mounts.as_slice() {
            [root] => Ok(Root::from_fd(root.detached()?)),
            other => Err(Cause::Invalid(format!("a snapshot with {} mounts instead of one", other.len()))),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // What cannot be removed now stays on the lease and is removed by the next start.
        drop(self.store.snapshots.remove_active(&self.key));
    }
}

impl Workspace {
    /// A writable filesystem that holds what `parent` holds.
    pub fn on(store: &Arc<Store>, parent: &Layers) -> Result<Workspace, Cause> {
        Self::with_group(store, parent, None)
    }

    /// [`Workspace::on`] for a process: should this process die, the cgroup `<group>/<key>` is emptied and removed too.
    pub fn for_process(store: &Arc<Store>, parent: &Layers, group: &str) -> Result<Workspace, Cause> {
        Self::with_group(store, parent, Some(group))
    }

    fn with_group(store: &Arc<Store>, parent: &Layers, group: Option<&str>) -> Result<Workspace, Cause> {
        let held = Held::new(store, parent, Access::Write, group)?;
        Ok(Workspace { held, parent: parent.clone() })
    }

    /// How to mount it.
    pub fn mounts(&self) -> Vec<Mount> {
        self.held.mounts.clone()
    }

    /// The filesystem as a mount that nobody else sees.
    pub fn root(&self) -> Result<Root, Cause> {
        self.held.root()
    }

    /// The snapshot's key.
    pub fn key(&self) -> &Key {
        &self.held.key
    }

    /// What it stands on.
    pub fn parent(&self) -> &Layers {
        &self.parent
    }

    /// Where what is written lands on disk.
    pub fn changes_dir(&self) -> Result<PathBuf, Cause> {
        Ok(self.held.store.snapshots.changes_dir(&self.held.key)?)
    }

    /// Makes a layer of what was written.
    pub fn commit(mut self) -> Result<Layers, Cause> {
        let lease = self.held.lease.clone();
        let (parent, options) = (self.parent.chain_id(), TarOptions::default());
        let layers = &self.held.store.layers;
        let layer = layers.commit_on(&lease, &self.held.key, parent.as_ref(), &options)?;
        self.held.committed = true;
        Ok(self.parent.push(layer, Some(lease)))
    }
}

impl View {
    /// A look at `layers`.
    pub fn of(store: &Arc<Store>, layers: &Layers) -> Result<View, Cause> {
        Ok(View { held: Held::new(store, layers, Access::Read, None)? })
    }

    /// The filesystem as a mount that nobody else sees.
    pub fn root(&self) -> Result<Root, Cause> {
        self.held.root()
    }
}

/// A key that no other process and no other step has.
pub(crate) fn fresh_key() -> Key {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Key(format!("build-{}-{}-{}", std::process::id(), start_nanos(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// When this process first asked; a process id alone comes back.
fn start_nanos() -> u128 {
    static START: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
    *START.get_or_init(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
    })
}
