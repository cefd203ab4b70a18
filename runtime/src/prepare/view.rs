//! The container's files as its first process will see them, before anything is mounted.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use kiln_sys::fs::{self, Root};
use kiln_sys::{Errno, Result};

/// The most links followed across mounts.
const LINKS_MAX: usize = 40;

/// The root file system with the binds that will be mounted in it.
#[derive(Debug)]
pub struct View {
    root: Root,
    /// Target and tree of each bind, in mount order.
    mounts: Vec<(PathBuf, Tree)>,
}

/// What is mounted at a target.
#[derive(Debug)]
pub enum Tree {
    /// A directory.
    Dir(Root),
    /// A file.
    File(OwnedFd),
    /// A file system that is still to be made in the child.
    Later,
}

/// Who holds a path.
#[derive(Debug)]
pub enum Place<'a> {
    /// A directory tree, and the path in it.
    In(&'a Root, PathBuf),
    /// A single file.
    File(&'a OwnedFd),
    /// A file system that does not exist yet.
    Later,
}

impl View {
    /// The root alone.
    pub fn new(root: Root) -> Self {
        Self { root, mounts: Vec::new() }
    }

    /// The root file system without mounts.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Adds a mount over what is there.
    pub fn mount(&mut self, target: &Path, tree: Tree) {
        self.mounts.push((normalise(target), tree));
    }

    /// Whether anything is mounted.
    pub fn has_mounts(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// The tree that holds `path`, by the text of the path.
    pub fn place(&self, path: &Path) -> Place<'_> {
        let path = normalise(path);
        for (target, tree) in self.mounts.iter().rev() {
            let Ok(rest) = path.strip_prefix(target) else { continue };
            return match tree {
                Tree::Dir(root) => Place::In(root, Path::new("/").join(rest)),
                Tree::File(file) => Place::File(file),
                Tree::Later => Place::Later,
            };
        }
        Place::In(&self.root, path)
    }

    /// A handle on what `path` leads to.
    pub fn resolve(&self, path: &Path) -> Result<OwnedFd> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let (root, inner) = match self.place(&path) {
                Place::In(root, inner) => (root, inner),
                Place::File(file) => return fs::open_path(file.as_fd(), ".").or_else(|_| dup(file)),
                Place::Later => return Err(missing(&path, Errno::NOENT)),
            };
            let found = root.resolve(&inner, false)?;
            if !fs::fstat(found.as_fd())?.is_symlink() {
                return Ok(found);
            }
            // The link may lead out of its tree into another one of the container.
            let target = fs::readlinkat(found.as_fd(), "")?;
            path = path.parent().unwrap_or(Path::new("/")).join(target);
        }
        Err(missing(&path, Errno::LOOP))
    }
}

fn dup(file: &OwnedFd) -> Result<OwnedFd> {
    file.try_clone().map_err(|_| missing(Path::new("a mounted file"), Errno::MFILE))
}

fn missing(path: &Path, errno: Errno) -> kiln_sys::Error {
    kiln_sys::Error::new("openat2", format!("`{}`", path.display()), errno)
}

/// The path with `.`, `..` and doubled slashes worked out as text, absolute.
pub fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_from_tree_to_tree() {
        let (base, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(base.path().join("python"), "base").unwrap();
        symlink("/python", volume.path().join("link")).unwrap();
        let mut view = View::new(Root::open(base.path()).unwrap());
        view.mount(Path::new("/venv"), Tree::Dir(Root::open(volume.path()).unwrap()));
        let found = view.resolve(Path::new("/venv/link")).unwrap();
        assert_eq!(fs::fstat(found.as_fd()).unwrap().size, 4);
        assert!(view.resolve(Path::new("/venv/none")).unwrap_err().is_not_found());
    }

    #[test]
    fn text_is_normalised() {
        assert_eq!(normalise(Path::new("a/../../b/./c//d")), Path::new("/b/c/d"));
    }
}
