//! A busybox root file system, and how to run something in it.
#![allow(dead_code)]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use kiln_runtime::{
    EtcFiles, ExitStatus, MountKind, NetworkSetup, Process, Propagation, Result, RunSpec, Security, Stdio,
    UserMount, cgroup::Resources, start,
};
use kiln_sys::mount::{Mount, MountFlags, MountOption};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A root file system in a temporary directory.
pub(crate) struct Image {
    pub(crate) dir: tempfile::TempDir,
    cgroup_parent: String,
}

impl Drop for Image {
    /// Takes the parent of this image's control groups away, from each hierarchy of either version.
    fn drop(&mut self) {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for folder in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            let _ = std::fs::remove_dir(folder.join(&self.cgroup_parent));
        }
    }
}

impl Image {
    /// Busybox with its usual folders and tables.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let image = Self { dir, cgroup_parent: format!("kiln-test-{}-{number}", std::process::id()) };
        for name in
            ["lower/bin", "lower/etc", "lower/tmp", "lower/proc", "lower/sys", "lower/dev", "upper", "work"]
        {
            std::fs::create_dir_all(image.dir.path().join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", image.lower("bin/busybox")).unwrap();
        for applet in
            ["sh", "true", "cat", "ls", "id", "sleep", "stat", "mount", "hostname", "tty", "env", "test"]
        {
            symlink("busybox", image.lower(&format!("bin/{applet}"))).unwrap();
        }
        std::fs::write(
            image.lower("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(image.lower("etc/group"), "root:x:0:\nadm:x:4:app\napp:x:1001:\n").unwrap();
        image
    }

    /// A path in the image's one layer.
    pub(crate) fn lower(&self, path: &str) -> PathBuf {
        self.dir.path().join("lower").join(path)
    }

    /// A path in the writable layer.
    pub(crate) fn upper(&self, path: &str) -> PathBuf {
        self.dir.path().join("upper").join(path)
    }

    /// Names in a folder of the writable layer.
    pub(crate) fn changes(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.upper(path)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// An overlay of both.
    pub(crate) fn rootfs(&self) -> Vec<Mount> {
        let base = self.dir.path();
        // A `volatile` overlay must be declared sound before it is mounted again.
        let _ = std::fs::remove_dir_all(base.join("work").join("work").join("incompat"));
        vec![Mount {
            source: "overlay".into(),
            target: PathBuf::new(),
            fs_type: "overlay".into(),
            flags: MountFlags::NONE,
            data: vec![
                MountOption::value("lowerdir+", base.join("lower")),
                MountOption::value("upperdir", base.join("upper")),
                MountOption::value("workdir", base.join("work")),
                MountOption::flag("volatile"),
            ],
        }]
    }

    /// A run of `args` with everything by default and no network.
    pub(crate) fn spec(&self, args: &[&str]) -> RunSpec {
        RunSpec {
            host_proc: false,
            id: format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
            rootfs: self.rootfs(),
            readonly_rootfs: false,
            process: Process { args: args.iter().map(|a| (*a).to_owned()).collect(), ..Process::default() },
            hostname: "box".into(),
            mounts: Vec::new(),
            devices: Vec::new(),
            etc: EtcFiles::default(),
            network: NetworkSetup::None,
            resources: Resources::default(),
            security: Security::default(),
            init: false,
            cgroup_parent: self.cgroup_parent.clone(),
            rlimits: Vec::new(),
            shm_size: None,
            freezable: false,
        }
    }

    /// Runs a shell script; returns its output, both streams, and how it ended.
    pub(crate) fn sh(&self, script: &str) -> (String, ExitStatus) {
        output(self.spec(&["/bin/sh", "-c", script])).unwrap()
    }
}

/// A bind of `source` at `target`.
pub(crate) fn bind(source: &Path, target: &str, readonly: bool) -> UserMount {
    UserMount {
        kind: MountKind::Bind { source: source.to_owned() },
        target: target.into(),
        readonly,
        propagation: Propagation::Private,
    }
}

/// Standard streams: no input, and both outputs into one file.
pub(crate) fn captured() -> (Stdio, File) {
    let file = tempfile::tempfile().unwrap();
    let fd = || OwnedFd::from(file.try_clone().unwrap());
    let null = OwnedFd::from(File::open("/dev/null").unwrap());
    (Stdio::Fds { stdin: null, stdout: fd(), stderr: fd() }, file)
}

/// What was captured.
pub(crate) fn read(mut file: File) -> String {
    std::io::Seek::rewind(&mut file).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Runs to the end.
pub(crate) fn output(spec: RunSpec) -> Result<(String, ExitStatus)> {
    let (stdio, file) = captured();
    let status = start(spec, stdio)?.wait()?;
    Ok((read(file), status))
}
