//! A folder that is exchanged for a link all the time, while somebody mounts it. Needs root.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kiln_sys::fs::{self, Root};
use kiln_sys::mount::clone_beneath;

/// B01 of the safety tables.
#[test]
fn what_is_mounted_is_what_was_found_beneath_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let (canary, place) = (dir.path().join("canary"), dir.path().join("root"));
    std::fs::create_dir_all(place.join("sub/inside")).unwrap();
    std::fs::create_dir_all(canary.join("of-the-host")).unwrap();
    let root = Root::open(&place).unwrap();
    let (stop, mut tries, mut seen) = (AtomicBool::new(false), 0, BTreeSet::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (sub, aside) = (place.join("sub"), place.join("aside"));
            for target in [canary.as_path(), Path::new("../canary")].into_iter().cycle() {
                std::fs::rename(&sub, &aside).unwrap();
                symlink(target, &sub).unwrap();
                std::fs::remove_file(&sub).unwrap();
                std::fs::rename(&aside, &sub).unwrap();
                // The folder is there for as long as all else takes.
                std::thread::sleep(Duration::from_micros(50));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        while tries < 3000 || seen.is_empty() {
            tries += 1;
            // At a moment when there is a link, it leads to what is not beneath the root.
            let Ok(tree) = clone_beneath(&root, Path::new("sub")) else { continue };
            let listed = fs::read_dir(fs::open_dir(tree.as_fd(), ".").unwrap().as_fd()).unwrap();
            seen.extend(listed.into_iter().map(|entry| entry.name));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["inside"]);
    assert!(canary.join("of-the-host").is_dir());
}
