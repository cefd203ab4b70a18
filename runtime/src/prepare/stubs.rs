//! Mount points that had to be made, so that they can be taken away again.
//!
//! A mount needs something to sit on. Where the image has nothing there, an empty file or folder is
//! made, and removed when the container has ended: it must not become part of a layer, and neither
//! must the time of the change to the folder that it was made in.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use kiln_sys::fs::{self, FileType, Root, Time};
use kiln_sys::{Errno, Result};

/// The most links followed to find the place of a file.
const LINKS_MAX: usize = 40;

/// What sits on a mount point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// Anything else.
    File,
}

/// Mount points that were made.
#[derive(Debug, Default)]
pub struct Stubs {
    made: Vec<Stub>,
}

#[derive(Debug)]
struct Stub {
    parent: OwnedFd,
    name: OsString,
    kind: Kind,
    ino: u64,
    /// The parent's time before and after.
    before: Time,
    after: Time,
}

impl Stubs {
    /// Makes sure that `path` beneath `root` can be mounted on.
    pub fn place(&mut self, root: &Root, path: &Path, kind: Kind) -> Result<()> {
        match root.resolve(path, true) {
            Ok(found) => check(&found, path, kind),
            Err(error) if error.is_not_found() && kind == Kind::Dir => self.make_dir(root, path),
            Err(error) if error.is_not_found() => self.make_file(root, path),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing was made.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// Removes what was made and is still what it was, last first.
    pub fn remove(&mut self) {
        while let Some(stub) = self.made.pop() {
            // What cannot be removed is in use by now, and then it is the container's own.
            let _ = stub.remove();
        }
    }

    fn make_dir(&mut self, root: &Root, path: &Path) -> Result<()> {
        let mut created = Vec::new();
        let result = root.create_dir_all_noting(path, 0o755, None, &mut created);
        for dir in created {
            self.note(dir.parent, dir.name, Kind::Dir, dir.parent_mtime)?;
        }
        result.map(drop)
    }

    fn make_file(&mut self, root: &Root, path: &Path) -> Result<()> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { break };
            self.place(root, parent, Kind::Dir)?;
            let dir = root.resolve(parent, true)?;
            let before = fs::fstat(dir.as_fd())?.mtime;
            match fs::create_file(dir.as_fd(), name, 0o644) {
                Ok(_) => return self.note(dir, name.to_owned(), Kind::File, before),
                Err(error) if error.is_exists() => path = link_target(dir, &path)?,
                Err(error) => return Err(error),
            }
        }
        Err(kiln_sys::Error::new("openat", format!("`{}`", path.display()), Errno::LOOP))
    }

    fn note(&mut self, parent: OwnedFd, name: OsString, kind: Kind, before: Time) -> Result<()> {
        let ino = fs::statat(parent.as_fd(), &name)?.ino;
        let after = fs::fstat(parent.as_fd())?.mtime;
        self.made.push(Stub { parent, name, kind, ino, before, after });
        Ok(())
    }
}

impl Stub {
    fn remove(&self) -> Result<()> {
        let dir = self.parent.as_fd();
        let stat = fs::statat(dir, &self.name)?;
        let now = fs::fstat(dir)?.mtime;
        let ours = stat.ino == self.ino;
        match self.kind {
            Kind::Dir if ours && stat.is_dir() => fs::rmdirat(dir, &self.name)?,
            Kind::File if ours && stat.is_file() && stat.size == 0 => fs::unlinkat(dir, &self.name)?,
            _ => return Ok(()),
        }
        // A change by the container itself keeps its time.
        fs::futimens(dir, None, Some(if now == self.after { self.before } else { now }))
    }
}

fn check(found: &OwnedFd, path: &Path, kind: Kind) -> Result<()> {
    let is_dir = fs::fstat(found.as_fd())?.is_dir();
    let problem = match kind {
        Kind::Dir if !is_dir => Errno::NOTDIR,
        Kind::File if is_dir => Errno::ISDIR,
        _ => return Ok(()),
    };
    Err(kiln_sys::Error::new("mount", format!("on `{}`", path.display()), problem))
}

/// Where the dangling link at `path` leads.
fn link_target(dir: OwnedFd, path: &Path) -> Result<PathBuf> {
    let name = path.file_name().unwrap_or_default();
    if fs::statat(dir.as_fd(), name)?.file_type() != FileType::Symlink {
        return Err(kiln_sys::Error::new("openat", format!("`{}`", path.display()), Errno::EXIST));
    }
    let target = fs::readlinkat(dir.as_fd(), name)?;
    Ok(path.parent().unwrap_or(Path::new("/")).join(target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_was_made_goes_and_times_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        std::fs::create_dir(base.join("etc")).unwrap();
        symlink("../run/resolve/stub.conf", base.join("etc/resolv.conf")).unwrap();
        let root = Root::open(base).unwrap();
        let old = Time { seconds: 1000, nanoseconds: 5 };
        fs::utimensat(root.as_fd(), "etc", None, Some(old)).unwrap();
        fs::futimens(root.as_fd(), None, Some(old)).unwrap();
        let mut stubs = Stubs::default();
        stubs.place(&root, Path::new("/etc/resolv.conf"), Kind::File).unwrap();
        stubs.place(&root, Path::new("/etc/hosts"), Kind::File).unwrap();
        stubs.place(&root, Path::new("/a/b"), Kind::Dir).unwrap();
        stubs.place(&root, Path::new("/a/b"), Kind::Dir).unwrap();
        assert!(base.join("run/resolve/stub.conf").is_file());
        assert!(base.join("etc/hosts").is_file() && base.join("a/b").is_dir());
        stubs.remove();
        let left: Vec<_> = std::fs::read_dir(base).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["etc"]);
        assert_eq!(std::fs::read_dir(base.join("etc")).unwrap().count(), 1);
        assert_eq!(fs::fstat(root.as_fd()).unwrap().mtime, old);
        assert_eq!(fs::statat(root.as_fd(), "etc").unwrap().mtime, old);
    }

    #[test]
    fn what_the_container_made_of_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut stubs = Stubs::default();
        stubs.place(&root, Path::new("/full"), Kind::Dir).unwrap();
        stubs.place(&root, Path::new("/written"), Kind::File).unwrap();
        stubs.place(&root, Path::new("/replaced"), Kind::File).unwrap();
        std::fs::write(dir.path().join("full/x"), "").unwrap();
        std::fs::write(dir.path().join("written"), "x").unwrap();
        std::fs::rename(dir.path().join("replaced"), dir.path().join("kept")).unwrap();
        std::fs::write(dir.path().join("replaced"), "").unwrap();
        stubs.remove();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn kinds_must_agree() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let error = Stubs::default().place(&root, Path::new("/file"), Kind::Dir).unwrap_err();
        assert_eq!(error.errno, Errno::NOTDIR);
    }
}
