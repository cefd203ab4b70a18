//! `mode=delete`: what a directory has and a result has not goes away before the result is copied into it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_sys::fs::{self, Root};

use super::Built;
use crate::error::Cause;

/// Removes from `dest` what none of the images has: from each of `folders` where each has one (`split`), and beside them.
pub(super) fn to_result(
    built: &Built,
    dest: &Root,
    folders: &[Root],
    roots: &[Root],
    split: bool,
) -> Result<(), Cause> {
    if !split {
        let trees: Vec<OwnedFd> = roots.iter().map(|root| root.open_dir(".")).collect::<Result<_, _>>()?;
        return prune(dest.open_dir(".")?.as_fd(), &trees);
    }
    let dest = dest.open_dir(".")?;
    let names: Vec<String> = built.images.iter().map(super::Image::folder).collect();
    for entry in fs::read_dir(dest.as_fd())? {
        if !names.iter().any(|name| entry.name == name.as_str()) {
            fs::remove_tree(dest.as_fd(), &entry.name)?;
        }
    }
    for (folder, root) in folders.iter().zip(roots) {
        prune(folder.open_dir(".")?.as_fd(), &[root.open_dir(".")?])?;
    }
    Ok(())
}

/// Removes from `dest` what is in none of `trees`, or in them as something of another kind.
fn prune(dest: BorrowedFd<'_>, trees: &[OwnedFd]) -> Result<(), Cause> {
    for entry in fs::read_dir(dest)? {
        let have = fs::statat(dest, &entry.name)?;
        let same = |tree: &&OwnedFd| {
            fs::statat(tree.as_fd(), &entry.name).is_ok_and(|stat| stat.file_type() == have.file_type())
        };
        let keeping: Vec<&OwnedFd> = trees.iter().filter(same).collect();
        if keeping.is_empty() {
            fs::remove_tree(dest, &entry.name)?;
        } else if have.is_dir() {
            let inner = keeping.iter().map(|tree| fs::open_dir(tree.as_fd(), &entry.name));
            let inner = inner.collect::<Result<Vec<_>, _>>()?;
            prune(fs::open_dir(dest, &entry.name)?.as_fd(), &inner)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs as std_fs;

    use super::*;

    #[test]
    fn what_is_in_no_tree_goes_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["a/kept", "a/sub/kept", "a/was-file", "b/kept", "outside"] {
            std_fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["dest/kept", "dest/sub/kept", "dest/sub/gone", "dest/gone/deep"] {
            std_fs::create_dir_all(at(path)).unwrap();
        }
        std_fs::write(at("dest/was-file"), "").unwrap();
        std_fs::write(at("outside/file"), "").unwrap();
        std::os::unix::fs::symlink(at("outside"), at("dest/link")).unwrap();
        let tree = |path: &str| Root::open(&at(path)).unwrap().open_dir(".").unwrap();
        prune(tree("dest").as_fd(), &[tree("a"), tree("b")]).unwrap();
        let mut left: Vec<_> =
            std_fs::read_dir(at("dest")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["kept", "sub"]);
        assert!(at("dest/sub/kept").exists() && !at("dest/sub/gone").exists());
        assert!(at("outside/file").exists());
    }
}
