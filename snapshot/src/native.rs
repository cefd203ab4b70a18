//! Snapshots as full copies: for file systems that overlayfs refuses, and the reference that tests compare with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_sys::mount::{Mount, MountFlags};

use crate::copy::{CopyOptions, copy};
use crate::directories::Directories;
use crate::meta::{ActiveRow, Place};
use crate::{Changes, Error, Info, Key, Kind, MetaStore, Name, Result, Snapshotter, Usage, diff_trees};

const FS: &str = "fs";

/// Keeps each snapshot as a whole tree in `<root>/<id>/fs`, copied (or reflinked) from its parent.
#[derive(Debug)]
pub struct NativeSnapshotter {
    dirs: Directories,
    meta: Arc<dyn MetaStore>,
}

impl NativeSnapshotter {
    /// Opens the snapshots below `root`, whose rows are in `meta`.
    pub fn open(root: &Path, meta: Arc<dyn MetaStore>) -> Result<Self> {
        Ok(Self { dirs: Directories::open(root)?, meta })
    }

    fn begin(&self, key: &Key, kind: Kind, parent: Option<&Name>) -> Result<Vec<Mount>> {
        let row = self.meta.create(key, kind, parent)?;
        if let Err(error) = self.fill(&row) {
            self.remove_active(key)?;
            return Err(error);
        }
        Ok(self.mounts_of(&row))
    }

    fn fill(&self, row: &ActiveRow) -> Result<()> {
        self.dirs.create(row.id, &[FS])?;
        let (Kind::Active, Some(parent)) = (row.kind, row.parents.first()) else { return Ok(()) };
        let (from, to) = (self.dirs.open_part(*parent, FS)?, self.dirs.open_part(row.id, FS)?);
        copy(&from, Path::new(""), &to, Path::new(""), &CopyOptions::exact()).map(drop)
    }

    /// A view shows its parent's directory, or its own empty one.
    fn mounts_of(&self, row: &ActiveRow) -> Vec<Mount> {
        let shown = match row.kind {
            Kind::Active => row.id,
            _ => row.parents.first().copied().unwrap_or(row.id),
        };
        let mut mount = Mount::bind(self.dirs.part(shown, FS), "");
        if row.kind != Kind::Active {
            mount.flags |= MountFlags::READONLY;
        }
        vec![mount]
    }

    fn active(&self, key: &Key) -> Result<ActiveRow> {
        self.meta.active(key)?.ok_or_else(|| Error::NotFound(key.0.clone()))
    }

    fn place(&self, key: &Key) -> Result<Place> {
        self.meta.place(key)?.ok_or_else(|| Error::NotFound(key.0.clone()))
    }

    fn committed(&self, name: &Name) -> Result<Place> {
        let row = self.meta.committed(name)?.ok_or_else(|| Error::NotFound(name.0.clone()))?;
        Ok(row.place)
    }

    fn changes_between(&self, parent: Option<u64>, id: u64) -> Result<Changes> {
        let root = self.dirs.open_part(id, FS)?;
        let parent = parent.map(|id| self.dirs.open_part(id, FS)).transpose()?;
        Ok(Changes { list: diff_trees(parent.as_ref(), &root)?, root })
    }
}

impl Snapshotter for NativeSnapshotter {
    fn prepare(&self, key: &Key, parent: Option<&Name>) -> Result<Vec<Mount>> {
        self.begin(key, Kind::Active, parent)
    }

    fn view(&self, key: &Key, parent: Option<&Name>) -> Result<Vec<Mount>> {
        self.begin(key, Kind::View, parent)
    }

    fn mounts(&self, key: &Key) -> Result<Vec<Mount>> {
        Ok(self.mounts_of(&self.active(key)?))
    }

    fn commit(&self, name: &Name, key: &Key) -> Result<()> {
        self.meta.commit(name, key).map(drop)
    }

    fn remove_active(&self, key: &Key) -> Result<()> {
        match self.meta.remove_active(key)? {
            Some(id) => self.dirs.remove(id),
            None => Ok(()),
        }
    }

    fn remove(&self, name: &Name) -> Result<()> {
        self.dirs.remove(self.meta.remove(name)?)
    }

    fn stat(&self, name: &Name) -> Result<Option<Info>> {
        Ok(self.meta.committed(name)?.map(|row| row.info))
    }

    fn usage(&self, name: &Name) -> Result<Usage> {
        self.dirs.usage(self.committed(name)?.id, FS)
    }

    fn usage_active(&self, key: &Key) -> Result<Usage> {
        self.dirs.usage(self.place(key)?.id, FS)
    }

    fn changes_dir(&self, key: &Key) -> Result<PathBuf> {
        Ok(self.dirs.part(self.place(key)?.id, FS))
    }

    fn layer_dir(&self, name: &Name) -> Result<PathBuf> {
        Ok(self.dirs.part(self.committed(name)?.id, FS))
    }

    fn changes(&self, key: &Key) -> Result<Changes> {
        let place = self.place(key)?;
        self.changes_between(place.parent, place.id)
    }

    fn layer_changes(&self, name: &Name) -> Result<Changes> {
        let place = self.committed(name)?;
        self.changes_between(place.parent, place.id)
    }

    fn clean(&self) -> Result<()> {
        self.dirs.clean(|id| self.meta.has_id(id))
    }
}
