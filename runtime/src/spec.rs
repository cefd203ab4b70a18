//! A run as a spec of the OCI runtime specification, for people and for other tools. Pure.

use kiln_sys::caps::CapSet;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::profile::{self, MASKED_PATHS, READONLY_PATHS, SHM_BYTES};
use crate::run_spec::{MountKind, NetworkSetup, RunSpec, UserMount};

/// Version of the specification.
const VERSION: &str = "1.2.0";

/// The run as a spec. Names of users stay out of it: `uid` and `gid` are what the image's tables gave.
pub fn of(spec: &RunSpec, uid: u32, gid: u32) -> Result<Spec> {
    let value = json!({
        "ociVersion": VERSION,
        "hostname": spec.hostname,
        "root": { "path": "rootfs", "readonly": spec.readonly_rootfs },
        "process": process(spec, uid, gid)?,
        "mounts": mounts(spec),
        "linux": linux(spec),
    });
    serde_json::from_value(value).map_err(|e| Error::Invalid(format!("the run has no OCI form: {e}")))
}

fn process(spec: &RunSpec, uid: u32, gid: u32) -> Result<Value> {
    let caps: CapSet = profile::capabilities(&spec.security)?;
    let names = caps.names();
    let own = if uid == 0 { names.clone() } else { Vec::new() };
    let cwd = if spec.process.cwd.is_empty() { "/" } else { &spec.process.cwd };
    let rlimits: Vec<Value> = spec.rlimits.iter().map(|limit| {
        json!({ "type": format!("RLIMIT_{}", limit.name.to_uppercase()), "soft": limit.soft, "hard": limit.hard })
    }).collect();
    Ok(json!({
        "terminal": spec.process.tty,
        "user": { "uid": uid, "gid": gid },
        "args": spec.process.args,
        "env": spec.process.env,
        "cwd": cwd,
        "capabilities": { "bounding": names, "effective": own, "permitted": own, "inheritable": [], "ambient": [] },
        "rlimits": rlimits,
        "noNewPrivileges": spec.security.no_new_privileges,
    }))
}

fn mounts(spec: &RunSpec) -> Vec<Value> {
    let safe = ["nosuid", "noexec", "nodev"];
    let shm = format!("size={}", spec.shm_size.unwrap_or(SHM_BYTES));
    let access = if spec.security.is_unconfined() { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &safe),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &[&safe[..], &["mode=1777", &shm]].concat()),
        mount("/dev/mqueue", "mqueue", "mqueue", &safe),
        mount("/sys", "sysfs", "sysfs", &[&safe[..], &[access]].concat()),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &[&safe[..], &[access]].concat()),
    ];
    let etc = &spec.etc;
    let files = [("resolv.conf", &etc.resolv_conf), ("hosts", &etc.hosts), ("hostname", &etc.hostname)];
    for (name, source) in files {
        let Some(source) = source else { continue };
        let access = if etc.readonly { "ro" } else { "rw" };
        mounts.push(mount(&format!("/etc/{name}"), "bind", &source.to_string_lossy(), &["bind", access]));
    }
    mounts.extend(spec.mounts.iter().map(user_mount));
    mounts
}

fn user_mount(user: &UserMount) -> Value {
    let access = if user.readonly { "ro" } else { "rw" };
    match &user.kind {
        MountKind::Bind { source } => {
            mount(&user.target, "bind", &source.to_string_lossy(), &["rbind", access, "rprivate"])
        }
        MountKind::Tree(_) => mount(&user.target, "bind", "tree", &["bind", access, "rprivate"]),
        MountKind::Tmpfs { size, mode, exec } => {
            let mode = format!("mode={:o}", mode.unwrap_or(0o1777));
            let size = size.map(|size| format!("size={size}"));
            let exec = if *exec { "exec" } else { "noexec" };
            let mut options = vec!["nosuid", "nodev", exec, access, &mode];
            options.extend(size.as_deref());
            mount(&user.target, "tmpfs", "tmpfs", &options)
        }
    }
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": source, "options": options })
}

fn linux(spec: &RunSpec) -> Value {
    let mut namespaces = vec!["mount", "pid", "ipc", "uts", "cgroup"];
    if !matches!(spec.network, NetworkSetup::Host) {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let mut resources = serde_json::Map::new();
    if let Some(limit) = spec.resources.memory {
        resources.insert("memory".to_owned(), json!({ "limit": limit }));
    }
    if let Some(limit) = spec.resources.pids {
        resources.insert("pids".to_owned(), json!({ "limit": limit }));
    }
    if let Some(nanos) = spec.resources.nano_cpus {
        resources.insert("cpu".to_owned(), json!({ "quota": nanos / 10_000, "period": 100_000 }));
    }
    let hidden: (&[&str], &[&str]) =
        if spec.security.is_unconfined() { (&[], &[]) } else { (&MASKED_PATHS, &READONLY_PATHS) };
    json!({
        "namespaces": namespaces,
        "resources": resources,
        "cgroupsPath": format!("/{}/{}", spec.cgroup_parent, spec.id),
        "maskedPaths": hidden.0,
        "readonlyPaths": hidden.1,
    })
}
