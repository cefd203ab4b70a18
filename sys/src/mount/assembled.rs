//! Detached mounts put together into one tree that nobody else sees.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{PRIVATE_PLACE, move_onto, move_to};
use crate::error::Result;
use crate::fs::Root;
use crate::namespace::{OWN_MOUNTS, in_private_mounts, open_namespace};

/// A tree of mounts, which is gone with this value.
#[derive(Debug)]
pub struct Assembled {
    root: Root,
    /// The mounts stay together as long as the namespace that they are in.
    _namespace: OwnedFd,
}

impl Assembled {
    /// Puts each of `mounts` where its path leads to beneath `root`, in this order. One whose place is not there is left out.
    pub fn new(root: OwnedFd, mounts: Vec<(PathBuf, OwnedFd)>) -> Result<Self> {
        in_private_mounts(|| {
            // Asked first: the tree covers the folder that tells it.
            let namespace = open_namespace(Path::new(OWN_MOUNTS))?;
            move_to(root.as_fd(), Path::new(PRIVATE_PLACE))?;
            let root = Root::open(Path::new(PRIVATE_PLACE))?;
            for (path, mount) in mounts {
                match root.resolve(&path, true) {
                    Ok(place) => move_onto(mount.as_fd(), place.as_fd())?,
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(Assembled { root, _namespace: namespace })
        })
    }

    /// The root of the tree.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::Mount;

    #[test]
    fn mounts_are_one_tree_that_only_its_owner_sees() {
        let (base, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(base.path().join("data")).unwrap();
        std::os::unix::fs::symlink("/data", base.path().join("link")).unwrap();
        std::fs::write(volume.path().join("file"), "inside").unwrap();
        let bind = |path: &Path| Mount::bind(path, "").detached().unwrap();
        let mounts = ["/link", "/none"].map(|path| (path.into(), bind(volume.path())));
        let tree = Assembled::new(bind(base.path()), mounts.into()).unwrap();
        let read = |root: &Root| root.read_limited("data/file", 10).unwrap();
        assert_eq!(read(tree.root()).unwrap(), b"inside");
        assert_eq!(read(&Root::open(base.path()).unwrap()), None);
    }
}
