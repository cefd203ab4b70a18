//! Snapshots as overlayfs layers: one directory each, stacked by the kernel.

mod merged;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_sys::fs;
use kiln_sys::mount::{Mount, MountFlags, MountOption};
use kiln_sys::user_namespace::is_confined;

use self::merged::Merged;
use crate::directories::Directories;
use crate::meta::{ActiveRow, Place};
use crate::{Changes, Error, Info, Key, Kind, MetaStore, Name, Result, Snapshotter, Usage, diff_upper};

/// How many lower directories overlayfs stacks (`OVL_MAX_STACK` of the kernel).
pub const MAX_LOWERS: usize = 500;

/// Options that keep an upper directory readable without the mount it was written through: whole files and
/// directories, no redirects into lower layers, nothing kept beside them.
const PLAIN: [&str; 3] = ["index", "redirect_dir", "metacopy"];

const FS: &str = "fs";
const WORK: &str = "work";
/// Work directories that nobody needs are removed many at once: a filesystem may look at each inode that was freed in the last
/// seconds before it gives out another (ext4 does), and each step of a build takes some.
const MANY: usize = 1024;

/// Keeps snapshots in `<root>/<id>/{fs,work}` and mounts them with overlayfs.
#[derive(Debug)]
pub struct OverlaySnapshotter {
    dirs: Directories,
    meta: Arc<dyn MetaStore>,
    merged: Merged,
    /// Committed snapshots whose work directories are still there.
    worked: Mutex<Vec<u64>>,
}

impl OverlaySnapshotter {
    /// Opens the snapshots below `root`, whose rows are in `meta`.
    pub fn open(root: &Path, meta: Arc<dyn MetaStore>) -> Result<Self> {
        Ok(Self { dirs: Directories::open(root)?, meta, merged: Merged::default(), worked: Mutex::default() })
    }

    fn begin(&self, key: &Key, kind: Kind, parent: Option<&Name>) -> Result<Vec<Mount>> {
        let row = self.meta.create(key, kind, parent)?;
        let made = check_depth(row.parents.len()).and_then(|()| match kind {
            Kind::Active if !row.parents.is_empty() => self.dirs.create(row.id, &[FS, WORK]),
            _ => self.dirs.create(row.id, &[FS]),
        });
        if let Err(error) = made {
            self.remove_active(key)?;
            return Err(error);
        }
        Ok(self.mounts_of(&row))
    }

    /// How a snapshot is mounted: as a stack, or bound where there is nothing to stack.
    fn mounts_of(&self, row: &ActiveRow) -> Vec<Mount> {
        let own = match row.kind {
            Kind::Active => Some((self.dirs.part(row.id, FS), self.dirs.part(row.id, WORK))),
            _ => None,
        };
        let mount = match (own, row.parents.as_slice()) {
            (Some((upper, _)), []) => Mount::bind(upper, ""),
            (None, []) => read_only(self.dirs.part(row.id, FS)),
            (None, [only]) => read_only(self.dirs.part(*only, FS)),
            (own, parents) => stack_of(self.merged.lowers(parents, |id| self.dirs.part(id, FS)), own),
        };
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

    /// Removes the mark that a `volatile` mount leaves and that makes the next mount fail. It says that the upper
    /// directory may not be on disk; a crash of the machine discards active snapshots anyway.
    fn forget_volatile(&self, id: u64) -> Result<()> {
        let work = match fs::open_dir(fs::CWD, self.dirs.part(id, WORK).join("work")) {
            Ok(work) => work,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        Ok(fs::remove_tree(work.as_fd(), "incompat")?)
    }

    fn changes_of(&self, id: u64) -> Result<Changes> {
        let root = self.dirs.open_part(id, FS)?;
        Ok(Changes { list: diff_upper(&root)?, root })
    }
}

impl Drop for OverlaySnapshotter {
    fn drop(&mut self) {
        let worked = self.worked.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.dirs.remove_parts(std::mem::take(worked), WORK);
    }
}

fn check_depth(parents: usize) -> Result<()> {
    if parents > MAX_LOWERS {
        return Err(Error::TooManyLayers { count: parents, limit: MAX_LOWERS });
    }
    Ok(())
}

fn read_only(directory: PathBuf) -> Mount {
    let mut mount = Mount::bind(directory, "");
    mount.flags |= MountFlags::READONLY;
    mount
}

/// A stack on lower directories, nearest first; `own` is the upper and the work directory of what is written to.
fn stack_of(lowers: Vec<MountOption>, own: Option<(PathBuf, PathBuf)>) -> Mount {
    let mut data = lowers;
    let flags = if own.is_none() { MountFlags::READONLY } else { MountFlags::NONE };
    if let Some((upper, work)) = own {
        data.push(MountOption::value("upperdir", upper));
        data.push(MountOption::value("workdir", work));
        data.push(MountOption::flag("volatile"));
    }
    data.extend(plain());
    Mount { source: "overlay".into(), target: PathBuf::new(), fs_type: "overlay".to_owned(), flags, data }
}

/// The same for a user namespace: marks are attributes that a user may set, and redirects are not even followed, which
/// overlayfs insists on then.
fn plain() -> Vec<MountOption> {
    if !is_confined() {
        return PLAIN.map(|option| MountOption::value(option, "off")).into();
    }
    vec![
        MountOption::flag("userxattr"),
        MountOption::value("index", "off"),
        MountOption::value("redirect_dir", "nofollow"),
    ]
}

impl Snapshotter for OverlaySnapshotter {
    fn prepare(&self, key: &Key, parent: Option<&Name>) -> Result<Vec<Mount>> {
        self.begin(key, Kind::Active, parent)
    }

    fn view(&self, key: &Key, parent: Option<&Name>) -> Result<Vec<Mount>> {
        self.begin(key, Kind::View, parent)
    }

    fn mounts(&self, key: &Key) -> Result<Vec<Mount>> {
        let row = self.active(key)?;
        self.forget_volatile(row.id)?;
        Ok(self.mounts_of(&row))
    }

    fn commit(&self, name: &Name, key: &Key) -> Result<()> {
        let id = self.meta.commit(name, key)?;
        let mut worked = self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        worked.push(id);
        if worked.len() >= MANY {
            self.dirs.remove_parts(std::mem::take(&mut *worked), WORK);
        }
        Ok(())
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
        self.changes_of(self.place(key)?.id)
    }

    fn layer_changes(&self, name: &Name) -> Result<Changes> {
        self.changes_of(self.committed(name)?.id)
    }

    fn most_layers(&self) -> usize {
        MAX_LOWERS
    }

    fn clean(&self) -> Result<()> {
        self.dirs.clean(|id| self.meta.has_id(id))
    }
}
