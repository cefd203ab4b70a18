//! A container's record as the runtime takes it.

use std::path::PathBuf;

use kiln_runtime::cgroup::Resources;
use kiln_runtime::{EtcFiles, MountKind, NetworkSetup, Process, Propagation, RunSpec, Security, UserMount};
use kiln_snapshot::Key;

use crate::containers::{ContainerOptions, MountKind as Asked, MountPoint, MountRequest, Record};
use crate::{Engine, Error, Result};

/// What to run.
pub(super) fn of(engine: &Engine, record: &Record, etc: EtcFiles, network: NetworkSetup) -> Result<RunSpec> {
    let rootfs = engine
        .store()
        .snapshots
        .mounts(&Key(record.container.id.clone()))
        .map_err(|error| Error::internal("find the container's filesystem", error))?;
    Ok(on(rootfs, engine, record, etc, network))
}

/// What to run on a filesystem that is at hand.
pub(crate) fn on(
    rootfs: Vec<kiln_sys::mount::Mount>,
    engine: &Engine,
    record: &Record,
    etc: EtcFiles,
    network: NetworkSetup,
) -> RunSpec {
    let container = &record.container;
    let options = &container.options;
    let mounts = options.mounts.iter().zip(&container.mounts);
    RunSpec {
        host_proc: false,
        id: container.id.clone(),
        rootfs,
        readonly_rootfs: options.read_only,
        process: process(record),
        hostname: options.hostname.clone().unwrap_or_default(),
        mounts: mounts.map(|(request, mount)| user_mount(request, mount)).collect(),
        devices: Vec::new(),
        etc,
        network,
        resources: resources(options),
        security: security(options),
        init: options.init,
        cgroup_parent: record.cgroup_parent(engine),
        rlimits: Vec::new(),
        shm_size: None,
        freezable: true,
    }
}

/// The container's own process.
pub(super) fn process(record: &Record) -> Process {
    let options = &record.container.options;
    Process {
        args: record.container.args.clone(),
        env: environment(options),
        cwd: options.working_dir.clone().unwrap_or_default(),
        user: options.user.clone().unwrap_or_default(),
        groups: Vec::new(),
        tty: options.tty,
    }
}

/// A container knows its name by a variable too, which a build step does not.
fn environment(options: &ContainerOptions) -> Vec<String> {
    let mut env = options.env.clone();
    if !env.iter().any(|entry| entry.starts_with("HOSTNAME=")) {
        env.push(format!("HOSTNAME={}", options.hostname.as_deref().unwrap_or_default()));
    }
    env
}

fn resources(options: &ContainerOptions) -> Resources {
    Resources {
        memory: options.memory,
        memory_swap: None,
        nano_cpus: options.nano_cpus,
        pids: options.pids_limit,
    }
}

/// What the container's processes may do.
pub(crate) fn security(options: &ContainerOptions) -> Security {
    Security {
        privileged: options.privileged,
        cap_add: options.cap_add.clone(),
        cap_drop: options.cap_drop.clone(),
        ..Security::default()
    }
}

fn user_mount(request: &MountRequest, mount: &MountPoint) -> UserMount {
    let kind = match &request.kind {
        Asked::Tmpfs { size, mode } => MountKind::Tmpfs { size: *size, mode: *mode, exec: false },
        Asked::Bind { .. } | Asked::Volume { .. } => MountKind::Bind { source: PathBuf::from(&mount.source) },
    };
    let target = request.target.clone();
    UserMount { kind, target, readonly: request.readonly, propagation: Propagation::default() }
}
