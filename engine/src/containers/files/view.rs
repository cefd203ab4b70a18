//! A container's filesystem with its mounts, as one tree that only this process sees.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_runtime::prepare::lowest;
use kiln_runtime::prepare::stubs::{Kind, Stubs};
use kiln_snapshot::Key;
use kiln_sys::fs::{self, FileLock, Root};
use kiln_sys::mount::{self, Assembled, Mount, MountFlags};
use kiln_sys::namespace;

use super::lock;
use crate::containers::{MountPoint, Record, Records, Status};
use crate::{Engine, Error, Result};

/// What every running container has mounted beside what it was told to.
const ETC: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// How long a container that is just ending is waited for, and how often it is looked at.
const ENDING: Duration = Duration::from_secs(10);
const ENDING_STEP: Duration = Duration::from_millis(5);

/// The tree, and what must be given back after it.
#[derive(Debug)]
pub(super) struct View {
    tree: Assembled,
    stubs: Stubs,
    /// Held for one that does not run: an overlay is mounted once at a time.
    _lock: Option<FileLock>,
}

impl View {
    /// Opens the files of the container that people mean by `name`.
    pub(super) fn open(engine: &Engine, name: &str) -> Result<(View, Record)> {
        let id = Records::of(engine).find(name)?.container.id;
        let deadline = Instant::now() + ENDING;
        loop {
            // Only under the lock is what the record says still so afterwards.
            let directory = crate::containers::directory(engine.store().root(), &id);
            let held = directory.exists().then(|| lock(&directory)).transpose()?;
            let record = Records::of(engine).find(&id)?;
            let status = record.container.state.status;
            if !matches!(status, Status::Running | Status::Paused) {
                return Ok((of_stopped(engine, &record, held)?, record));
            }
            match of_running(&record) {
                Ok(view) => return Ok((view, record)),
                // Its program has ended, and nobody has said so yet.
                Err(error) if error.is_not_found() && Instant::now() < deadline => {}
                Err(error) => return Err(failed(error)),
            }
            drop(held);
            std::thread::sleep(ENDING_STEP);
        }
    }

    pub(super) fn root(&self) -> &Root {
        self.tree.root()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.stubs.remove();
    }
}

fn failed(error: kiln_sys::Error) -> Error {
    Error::internal("open the container's filesystem", error)
}

/// Copies of the mounts that the container sees, without what is the kernel's.
fn of_running(record: &Record) -> kiln_sys::Result<View> {
    let pid = record.container.state.pid.unwrap_or_default();
    let namespace = namespace::open_namespace(Path::new(&format!("/proc/{pid}/ns/mnt")))?;
    let targets = targets(&record.container.mounts).chain(ETC.map(PathBuf::from));
    let (root, mounts) = namespace::in_mounts_of(namespace.as_fd(), || {
        let root = Root::open(Path::new("/"))?;
        let mut mounts = Vec::new();
        for target in targets {
            match root.resolve(&target, true) {
                Ok(found) => mounts.push((target, own_copy(found.as_fd(), true)?)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((own_copy(root.as_fd(), false)?, mounts))
    })?;
    Ok(View { tree: Assembled::new(root, mounts)?, stubs: Stubs::default(), _lock: None })
}

/// A copy of a mount; what is mounted in it is seen nowhere else.
fn own_copy(of: std::os::fd::BorrowedFd<'_>, recursive: bool) -> kiln_sys::Result<OwnedFd> {
    let copy = mount::clone_tree(of, Path::new(""), recursive)?;
    mount::set_private(copy.as_fd())?;
    Ok(copy)
}

/// The mounts as the container's next start would make them.
fn of_stopped(engine: &Engine, record: &Record, lock: Option<FileLock>) -> Result<View> {
    let container = &record.container;
    let mounts = engine.store().snapshots.mounts(&Key(container.id.clone()));
    let mounts = mounts.map_err(|error| Error::internal("find the container's filesystem", error))?;
    let root = mounts.into_iter().find(|mount| mount.target.as_os_str().is_empty());
    let root = root.ok_or_else(|| Error::not_found("the container has no filesystem"))?;
    let lowest = engine.store().root().join("lowest");
    let root = if lowest.is_dir() { lowest::below(&root, &lowest) } else { root };
    let root = root.detached().map_err(failed)?;
    let mut stubs = Stubs::default();
    let view = mount_all(root, &container.mounts, &mut stubs);
    match view {
        Ok(tree) => Ok(View { tree, stubs, _lock: lock }),
        Err(error) => {
            stubs.remove();
            Err(failed(error))
        }
    }
}

fn mount_all(root: OwnedFd, points: &[MountPoint], stubs: &mut Stubs) -> kiln_sys::Result<Assembled> {
    let beneath = Root::from_fd(root);
    let mut mounts = Vec::new();
    // Memory is empty while nobody runs.
    for point in points.iter().filter(|point| !point.source.is_empty()) {
        let mut bind = Mount::bind(&point.source, "");
        if point.readonly {
            bind.flags |= MountFlags::READONLY;
        }
        let tree = match bind.detached() {
            Ok(tree) => tree,
            // What was bound may be gone by now; the container would not start.
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        let is_dir = fs::fstat(tree.as_fd())?.is_dir();
        let target = PathBuf::from(&point.target);
        stubs.place(&beneath, &target, if is_dir { Kind::Dir } else { Kind::File })?;
        mounts.push((target, tree));
    }
    Assembled::new(beneath.into_fd(), mounts)
}

fn targets(points: &[MountPoint]) -> impl Iterator<Item = PathBuf> + Send + '_ {
    points.iter().map(|point| PathBuf::from(&point.target))
}
