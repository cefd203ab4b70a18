//! The suite of snapshot drivers, and what is particular to overlayfs.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use kiln_snapshot::{
    Error, Key, MAX_LOWERS, MemoryMeta, Name, NativeSnapshotter, OverlaySnapshotter, Snapshotter,
    detached_root,
};

mod overlay {
    use super::*;

    kiln_snapshot::snapshotter_suite!(|root| {
        Box::new(OverlaySnapshotter::open(root, Arc::new(MemoryMeta::new())).unwrap())
    });

    fn chain(snapshots: &OverlaySnapshotter, length: usize) -> Option<Name> {
        let mut parent = None;
        for at in 0..length {
            let (key, name) = (Key(format!("k{at}")), Name(format!("n{at}")));
            snapshots.prepare(&key, parent.as_ref()).unwrap();
            std::fs::write(snapshots.changes_dir(&key).unwrap().join(format!("f{at}")), "x").unwrap();
            snapshots.commit(&name, &key).unwrap();
            parent = Some(name);
        }
        parent
    }

    #[test]
    fn as_many_layers_as_the_kernel_takes_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = OverlaySnapshotter::open(dir.path(), Arc::new(MemoryMeta::new())).unwrap();
        let top = chain(&snapshots, MAX_LOWERS);
        let root = detached_root(&snapshots.prepare(&Key("all".into()), top.as_ref()).unwrap()).unwrap();
        assert!(kiln_sys::fs::statat(root.as_fd(), "f0").is_ok());
        assert!(kiln_sys::fs::statat(root.as_fd(), "f499").is_ok());
        drop(root);
        snapshots.commit(&Name("top".into()), &Key("all".into())).unwrap();
        let before = std::fs::read_dir(dir.path()).unwrap().count();
        let error = snapshots.prepare(&Key("more".into()), Some(&Name("top".into()))).unwrap_err();
        assert!(matches!(error, Error::TooManyLayers { count: 501, limit: 500 }), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
        assert!(snapshots.mounts(&Key("more".into())).unwrap_err().is_not_found());
    }

    #[test]
    fn a_deep_stack_has_few_lowers_and_all_that_its_layers_have() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = OverlaySnapshotter::open(dir.path(), Arc::new(MemoryMeta::new())).unwrap();
        let mut top = chain(&snapshots, 300);
        for at in 0..3 {
            let (key, name) = (Key(format!("change{at}")), Name(format!("changed{at}")));
            let mounts = snapshots.prepare(&key, top.as_ref()).unwrap();
            let lowers = mounts[0].data.iter().filter(|option| option.name() == "lowerdir+").count();
            assert_eq!(lowers, 300 - 256 + at + 1, "and one for the 256 that are one mount");
            let root = detached_root(&mounts).unwrap();
            let inside = std::path::PathBuf::from(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()));
            let text = |name: &str| std::fs::read(inside.join(name)).map(|text| text.len());
            for file in ["f0", "f127", "f128", "f255", "f256", "f299"] {
                assert_eq!(text(file).unwrap(), 1, "{file}");
            }
            match at {
                // What the lowest layers have is hidden and changed above them.
                0 => {
                    std::fs::remove_file(inside.join("f1")).unwrap();
                    std::fs::write(inside.join("f2"), "longer").unwrap();
                }
                _ => assert_eq!((text("f1").is_err(), text("f2").unwrap()), (true, 6)),
            }
            drop(root);
            snapshots.commit(&name, &key).unwrap();
            top = Some(name);
        }
        let changes = snapshots.layer_changes(&Name("changed0".into())).unwrap();
        let names: Vec<_> = changes.list.iter().map(|change| change.path.as_slice()).collect();
        assert_eq!(names, [&b"f1"[..], b"f2"]);
    }

    #[test]
    fn committed_layers_have_no_work_directory_when_the_work_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = OverlaySnapshotter::open(dir.path(), Arc::new(MemoryMeta::new())).unwrap();
        chain(&snapshots, 2);
        let layer = snapshots.layer_dir(&Name("n1".into())).unwrap();
        drop(snapshots);
        let names: Vec<_> = std::fs::read_dir(layer.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["fs"]);
    }
}

mod native {
    use super::*;

    kiln_snapshot::snapshotter_suite!(|root| {
        Box::new(NativeSnapshotter::open(root, Arc::new(MemoryMeta::new())).unwrap())
    });
}
