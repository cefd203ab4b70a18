//! The machine, the state root and what is in it.

use crate::containers::{ListOptions, Status};
use crate::{Engine, Result};

/// What `kiln info` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The state root.
    pub root: String,
    /// Containers in all.
    pub containers: usize,
    /// Containers that run.
    pub running: usize,
    /// Containers that are frozen.
    pub paused: usize,
    /// Containers that do not run.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The operating system's name.
    pub operating_system: String,
    /// The architecture, as Go spells it.
    pub architecture: String,
    /// CPUs.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// The control group that those of this root's containers are in.
    pub cgroup_parent: String,
    /// Mirrors by registry.
    pub mirrors: Vec<(String, Vec<String>)>,
}

impl Engine {
    /// The machine, the state root and what is in it.
    pub fn info(&self) -> Result<Info> {
        let containers = self.containers().list(&ListOptions { all: true })?;
        let count =
            |wanted: &[Status]| containers.iter().filter(|c| wanted.contains(&c.state.status)).count();
        let platform = kiln_oci::Platform::host();
        let running = count(&[Status::Running, Status::Restarting]);
        let paused = count(&[Status::Paused]);
        Ok(Info {
            root: self.store().root().display().to_string(),
            containers: containers.len(),
            running,
            paused,
            stopped: containers.len() - running - paused,
            images: self.store().images.list()?.len(),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            operating_system: os_name(),
            architecture: platform.architecture,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory(),
            cgroup_version: if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
                2
            } else {
                1
            },
            cgroup_parent: self.cgroup_parent(),
            mirrors: mirrors(self),
        })
    }
}

fn mirrors(engine: &Engine) -> Vec<(String, Vec<String>)> {
    let registries = engine.config().registries.into_iter();
    registries.map(|(host, config)| (host, config.mirrors)).filter(|(_, m)| !m.is_empty()).collect()
}

fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches('"').to_owned()
}

/// `MemTotal` of `/proc/meminfo`, which is in kibibytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
