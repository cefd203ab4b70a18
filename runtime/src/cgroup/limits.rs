//! Limits as the files and values that set them, for both versions.

use super::{Devices, Resources};

/// Length of a CPU accounting period in microseconds, as the kernel and Docker have it.
const CPU_PERIOD: u64 = 100_000;
/// The kernel's least quota in microseconds.
const LEAST_CPU_QUOTA: u64 = 1_000;
const NANO: u64 = 1_000_000_000;

/// One file to write: the controller that offers it, its name, and the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) controller: &'static str,
    pub(crate) file: &'static str,
    pub(crate) value: String,
    /// Whether a host without this file is good enough (swap accounting is a boot option).
    pub(crate) optional: bool,
}

fn setting(controller: &'static str, file: &'static str, value: impl ToString) -> Setting {
    Setting { controller, file, value: value.to_string(), optional: false }
}

/// The settings of version 1, in the order in which they must be written.
pub(crate) fn v1(resources: &Resources) -> Vec<Setting> {
    let Resources { memory, memory_swap, nano_cpus, pids } = resources;
    let mut settings = Vec::new();
    if let Some(memory) = memory {
        let both = memory_swap.unwrap_or(memory.saturating_mul(2)).min(i64::MAX as u64);
        settings.push(setting("memory", "memory.limit_in_bytes", memory));
        settings.push(Setting { optional: true, ..setting("memory", "memory.memsw.limit_in_bytes", both) });
    }
    if let Some(nano) = nano_cpus {
        settings.push(setting("cpu", "cpu.cfs_period_us", CPU_PERIOD));
        settings.push(setting("cpu", "cpu.cfs_quota_us", cpu_quota(*nano)));
    }
    settings.extend(pids_setting(*pids));
    settings
}

/// The settings of version 2.
pub(crate) fn v2(resources: &Resources) -> Vec<Setting> {
    let Resources { memory, memory_swap, nano_cpus, pids } = resources;
    let mut settings = Vec::new();
    if let Some(memory) = memory {
        let swap = memory_swap.map_or(*memory, |both| both.saturating_sub(*memory));
        settings.push(setting("memory", "memory.max", memory));
        settings.push(Setting { optional: true, ..setting("memory", "memory.swap.max", swap) });
    }
    if let Some(nano) = nano_cpus {
        settings.push(setting("cpu", "cpu.max", format!("{} {CPU_PERIOD}", cpu_quota(*nano))));
    }
    settings.extend(pids_setting(*pids));
    settings
}

fn cpu_quota(nano_cpus: u64) -> u64 {
    let quota = u128::from(nano_cpus) * u128::from(CPU_PERIOD) / u128::from(NANO);
    u64::try_from(quota).unwrap_or(u64::MAX).max(LEAST_CPU_QUOTA)
}

/// 0 and less is unlimited, as Docker has it.
fn pids_setting(pids: Option<i64>) -> Option<Setting> {
    pids.filter(|pids| *pids > 0).map(|pids| setting("pids", "pids.max", pids))
}

/// Docker's default device list: what a container needs of `/dev`, and making (not opening) any node.
pub(super) const DEFAULT_DEVICES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",   // null
    "c 1:5 rwm",   // zero
    "c 1:7 rwm",   // full
    "c 1:8 rwm",   // random
    "c 1:9 rwm",   // urandom
    "c 5:0 rwm",   // tty
    "c 5:1 rwm",   // console
    "c 5:2 rwm",   // ptmx
    "c 136:* rwm", // pts
];

/// What is written to `devices.deny` and `devices.allow` (version 1), in order.
pub(crate) fn v1_device_rules(devices: Devices) -> impl Iterator<Item = (&'static str, &'static str)> {
    let (deny, allow): (&[_], &[_]) = match devices {
        Devices::Default => (&["a"], &DEFAULT_DEVICES),
        Devices::All => (&[], &["a"]),
    };
    let denied = deny.iter().map(|rule| ("devices.deny", *rule));
    denied.chain(allow.iter().map(|rule| ("devices.allow", *rule)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    #[test]
    fn limits_in_the_words_of_each_version() {
        let resources = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(80 << 20),
            nano_cpus: Some(1_500_000_000),
            pids: Some(100),
        };
        assert_eq!(
            lines(&v1(&resources)),
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=83886080",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000",
                "pids.max=100"
            ]
        );
        assert_eq!(
            lines(&v2(&resources)),
            ["memory.max=67108864", "memory.swap.max=16777216", "cpu.max=150000 100000", "pids.max=100"]
        );
    }

    #[test]
    fn no_limit_is_no_setting() {
        let unlimited = Resources { pids: Some(-1), ..Resources::default() };
        assert!(v1(&unlimited).is_empty() && v2(&unlimited).is_empty());
        assert_eq!(cpu_quota(1), LEAST_CPU_QUOTA);
        assert_eq!(v1_device_rules(Devices::All).collect::<Vec<_>>(), [("devices.allow", "a")]);
    }
}
