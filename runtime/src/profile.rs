//! The default restrictions of a container, as Docker has them.

pub mod syscalls;

use kiln_sys::caps::CapSet;

use crate::error::{Error, Result};
use crate::run_spec::Security;

/// The fourteen capabilities of a container's root.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Paths that are covered, so that they read as empty.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that are made read-only.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where each processor has a `thermal_throttle` folder, which is masked as well.
pub const CPU_FOLDER: &str = "/sys/devices/system/cpu";

/// Device nodes: name, major, minor.
pub const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Symbolic links in `/dev`: name, text.
pub const DEVICE_LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// The search path where the environment has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Size of `/dev/shm` where nothing else is asked for.
pub const SHM_BYTES: u64 = 64 * 1024 * 1024;

/// The capabilities that these options give.
pub fn capabilities(security: &Security) -> Result<CapSet> {
    let mut set = if security.is_unconfined() { CapSet::all() } else { default_capabilities() };
    if security.cap_add.iter().any(|name| is_all(name)) {
        set = CapSet::all();
    }
    if security.cap_drop.iter().any(|name| is_all(name)) {
        set = CapSet::NONE;
    }
    for name in security.cap_drop.iter().filter(|name| !is_all(name)) {
        set = set.without(named(name)?);
    }
    for name in security.cap_add.iter().filter(|name| !is_all(name)) {
        set = set.union(named(name)?);
    }
    // What we do not have ourselves we cannot give.
    Ok(CapSet(set.0 & CapSet::held().0))
}

fn default_capabilities() -> CapSet {
    DEFAULT_CAPABILITIES.iter().filter_map(|name| CapSet::named(name)).fold(CapSet::NONE, CapSet::union)
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("all")
}

fn named(name: &str) -> Result<CapSet> {
    CapSet::named(name).ok_or_else(|| Error::Invalid(format!("unknown capability `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(privileged: bool, add: &[&str], drop: &[&str]) -> u64 {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let (cap_add, cap_drop) = (list(add), list(drop));
        capabilities(&Security { privileged, cap_add, cap_drop, ..Default::default() }).unwrap().0
    }

    #[test]
    fn sets_are_those_of_docker() {
        assert_eq!(set(false, &[], &[]), 0xa804_25fb);
        assert_eq!(set(false, &["SYS_ADMIN"], &["cap_chown"]), 0xa824_25fa);
        assert_eq!(set(false, &["NET_RAW"], &["ALL"]), 1 << 13);
        assert_eq!(set(false, &["all"], &["SYS_ADMIN"]), CapSet::held().0 & !(1 << 21));
        assert_eq!(set(true, &[], &[]), CapSet::held().0);
        assert!(capabilities(&Security { cap_add: vec!["X".into()], ..Default::default() }).is_err());
    }
}
