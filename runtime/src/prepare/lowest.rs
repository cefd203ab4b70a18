//! Something to mount on, in every image: a lowest layer of empty mount points.
//!
//! An image without `/etc/hosts` or `/proc` would need a stub in its upper directory, and making one copies the folder
//! around it up, where it stays and becomes part of a layer. A layer below all others costs nothing and leaves nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_sys::mount::{Mount, MountOption};

const FOLDERS: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// The option that adds a layer below those before it.
const LOWER: &str = "lowerdir+";

/// What overlayfs stacks at most; a root file system that is as deep does with stubs.
const MAX_LOWERS: usize = 500;

/// Makes the folder where it is missing; several processes, and threads of one, may do so at once.
pub fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let new = PathBuf::from(format!("{}.{}-{number}", folder.display(), std::process::id()));
    for name in FOLDERS {
        fs::create_dir_all(new.join(name))?;
    }
    for name in FILES {
        fs::write(new.join(name), "")?;
    }
    match fs::rename(&new, folder) {
        Err(_) if folder.is_dir() => fs::remove_dir_all(&new),
        other => other,
    }
}

/// The same mount with `folder` as its lowest layer, if it is a stack that has room for one.
pub fn below(root: &Mount, folder: &Path) -> Mount {
    let mut mount = root.clone();
    let is_lower = |option: &MountOption| option.name() == LOWER;
    let lowers = mount.data.iter().filter(|option| is_lower(option)).count();
    let last = mount.data.iter().rposition(is_lower);
    if let Some(last) = last.filter(|_| lowers < MAX_LOWERS) {
        mount.data.insert(last + 1, MountOption::value(LOWER, folder));
    }
    mount
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_sys::mount::MountFlags;

    fn stack(lowers: usize) -> Mount {
        let lower = |n: usize| MountOption::value(LOWER, format!("/{n}"));
        let data = (0..lowers).map(lower).chain([MountOption::value("upperdir", "/u")]).collect();
        Mount {
            source: "overlay".into(),
            target: PathBuf::new(),
            fs_type: "overlay".into(),
            flags: MountFlags::NONE,
            data,
        }
    }

    #[test]
    fn it_is_below_all_others() {
        let mount = below(&stack(2), Path::new("/stubs"));
        assert_eq!(mount.data[2], MountOption::value(LOWER, "/stubs"));
        assert_eq!(below(&stack(MAX_LOWERS), Path::new("/stubs")), stack(MAX_LOWERS));
        assert_eq!(below(&stack(0), Path::new("/stubs")), stack(0));
    }

    #[test]
    fn it_is_made_once_by_all_who_need_it() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("stubs");
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| make(&folder).unwrap())));
        });
        make(&folder).unwrap();
        assert!(folder.join("etc/hosts").is_file() && folder.join("proc").is_dir());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }
}
