//! Capabilities: names, numbers and sets.

use std::sync::OnceLock;

/// The names in the kernel's order, without `CAP_`.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const NONE: Self = Self(0);

    /// Every capability that this kernel knows.
    pub fn all() -> Self {
        Self(u64::MAX >> (63 - last()))
    }

    /// Every capability that this process may give to its children.
    pub fn held() -> Self {
        static HELD: OnceLock<CapSet> = OnceLock::new();
        *HELD.get_or_init(|| Self(of_status("CapPrm:") & of_status("CapBnd:")))
    }

    /// What this process may do now.
    pub fn effective() -> Self {
        Self(of_status("CapEff:"))
    }

    /// The capability of this name, with or without `CAP_`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES.iter().position(|known| *known == bare).map(|number| Self(1 << number))
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names of its members, with `CAP_`.
    pub fn names(self) -> Vec<String> {
        let member = |(number, _): &(usize, &&str)| self.0 & (1 << number) != 0;
        NAMES.iter().enumerate().filter(member).map(|(_, name)| format!("CAP_{name}")).collect()
    }
}

/// A set of this process, by its word in the kernel's list.
fn of_status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hex = text.lines().find_map(|line| line.strip_prefix(name));
    hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// The number of the last capability that this kernel knows.
pub fn last() -> u32 {
    static LAST: OnceLock<u32> = OnceLock::new();
    *LAST.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
        text.trim().parse().ok().filter(|n| *n < 64).unwrap_or(NAMES.len() as u32 - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_agree() {
        assert_eq!(CapSet::named("cap_sys_admin"), Some(CapSet(1 << 21)));
        assert_eq!(CapSet::named("AUDIT_WRITE"), Some(CapSet(1 << 29)));
        assert_eq!(CapSet::named("NONSENSE"), None);
        assert_eq!(CapSet(0b11).names(), ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
        assert!(CapSet::all().contains(CapSet(1 << 40)));
    }
}
