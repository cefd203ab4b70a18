//! Times whole containers: `time_run <folder> [runs]` prints microseconds of `busybox true`.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln_runtime::{EtcFiles, NetworkSetup, Process, RunSpec, Security, Stdio, cgroup::Resources, start};
use kiln_sys::mount::{Mount, MountFlags, MountOption};

fn main() {
    let mut args = std::env::args().skip(1);
    let base = PathBuf::from(args.next().unwrap_or_else(|| "/tmp/kiln-time".into())).join("time_run");
    let runs: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(200);
    make_image(&base);
    let namespace = std::sync::Arc::new(kiln_sys::namespace::new_network_namespace().unwrap());
    for (name, network, parent, etc) in [
        ("host network, no cgroup", NetworkSetup::Host, "", false),
        ("host network, no cgroup, etc files", NetworkSetup::Host, "", true),
        ("prepared network, no cgroup", NetworkSetup::Namespace(namespace), "", false),
        ("own network, no cgroup", NetworkSetup::None, "", false),
        ("own network, cgroup, etc files", NetworkSetup::None, "kiln-time", true),
    ] {
        measure(name, runs, |i| spec(&base, i, network.clone(), parent, etc));
    }
    std::fs::remove_dir_all(&base).unwrap();
}

fn measure(name: &str, runs: usize, spec: impl Fn(usize) -> RunSpec) {
    let (mut starts, mut totals) = (Vec::new(), Vec::new());
    for i in 0..runs + 5 {
        let spec = spec(i);
        let begun = Instant::now();
        let mut running = match start(spec, Stdio::Null) {
            Ok(running) => running,
            Err(error) => return println!("{name:40} {error}"),
        };
        starts.push(begun.elapsed().as_micros());
        assert!(running.wait().unwrap().success());
        totals.push(begun.elapsed().as_micros());
    }
    let median = |times: &mut Vec<u128>| {
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() / 10])
    };
    let ((start, _), (total, best)) = (median(&mut starts), median(&mut totals));
    println!("{name:40} start {start:5} us  whole {total:5} us  (p10 {best} us)");
}

fn make_image(base: &Path) {
    for name in ["lower/bin", "lower/proc", "lower/sys", "lower/dev", "lower/etc", "runs"] {
        std::fs::create_dir_all(base.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", base.join("lower/bin/busybox")).unwrap();
    let _ = std::os::unix::fs::symlink("busybox", base.join("lower/bin/true"));
    std::fs::write(base.join("resolv"), "").unwrap();
}

fn spec(base: &Path, i: usize, network: NetworkSetup, parent: &str, etc: bool) -> RunSpec {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let folder = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let run = base.join("runs").join(folder.to_string());
    for name in ["upper", "work"] {
        std::fs::create_dir_all(run.join(name)).unwrap();
    }
    let file = etc.then(|| base.join("resolv"));
    RunSpec {
        host_proc: false,
        id: format!("time-{i}"),
        rootfs: vec![Mount {
            source: "overlay".into(),
            target: PathBuf::new(),
            fs_type: "overlay".into(),
            flags: MountFlags::NONE,
            data: vec![
                MountOption::value("lowerdir+", base.join("lower")),
                MountOption::value("upperdir", run.join("upper")),
                MountOption::value("workdir", run.join("work")),
                MountOption::flag("volatile"),
            ],
        }],
        readonly_rootfs: false,
        process: Process { args: vec!["true".into()], ..Process::default() },
        hostname: "box".into(),
        mounts: Vec::new(),
        devices: Vec::new(),
        etc: EtcFiles {
            resolv_conf: file.clone(),
            hosts: file.clone(),
            hostname: file,
            readonly: true,
            lowest: None,
        },
        network,
        resources: Resources::default(),
        security: Security::default(),
        init: false,
        cgroup_parent: parent.into(),
        rlimits: Vec::new(),
        shm_size: None,
        freezable: false,
    }
}
