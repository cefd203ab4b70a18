//! The system calls that Docker's default profile withholds, as ranges of numbers with a verdict.
//!
//! The profile is written by Docker as a list of what is allowed. On one architecture that is "every
//! call the profile knows, without these", which is the shorter table and the one below.

use kiln_sys::caps::CapSet;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes through.
    Allow,
    /// It fails with this error number.
    Errno(u16),
    /// It depends on the arguments.
    Check(Check),
}

/// A rule over a call's first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `socket`: neither `AF_ALG` (38) nor `AF_VSOCK` (40).
    SocketFamily,
    /// `personality`: Linux and its harmless variants only.
    Personality,
    /// `clone`: no new namespaces.
    CloneFlags,
}

/// "Operation not permitted".
pub const EPERM: u16 = 1;
/// "Function not implemented".
pub const ENOSYS: u16 = 38;

/// The rules of one architecture.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The number that the kernel gives the architecture in a filter.
    pub audit_arch: u32,
    /// Numbers that the profile knows: ranges, both ends included.
    known: &'static [(u32, u32)],
    /// Calls that no capability opens.
    denied: &'static [u32],
    /// Calls that each one of the capabilities opens: number, bits.
    gated: &'static [(u32, u64)],
    socket: u32,
    personality: u32,
    clone: u32,
    /// `socketcall`, where it exists: it would go round the rule for `socket`.
    socketcall: Option<u32>,
}

const CLONE3: u32 = 435;
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_MODULE: u64 = 1 << 16;
const SYS_RAWIO: u64 = 1 << 17;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_PACCT: u64 = 1 << 20;
const SYS_ADMIN: u64 = 1 << 21;
const SYS_BOOT: u64 = 1 << 22;
const SYS_NICE: u64 = 1 << 23;
const SYS_TIME: u64 = 1 << 25;
const SYS_TTY_CONFIG: u64 = 1 << 26;
const SYSLOG: u64 = 1 << 34;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// x86_64.
pub const X86_64: Table = Table {
    audit_arch: 0xc000_003e,
    known: &[(0, 334), (424, 466)],
    // uselib, ustat, sysfs, pivot_root, _sysctl, swapon, swapoff, create_module, get_kernel_syms, query_module,
    // nfsservctl, getpmsg, putpmsg, afs_syscall, tuxcall, security, vserver, kexec_load, add_key, request_key,
    // keyctl, migrate_pages, move_pages, kexec_file_load, userfaultfd, io_uring_*
    denied: &[
        134, 136, 139, 155, 156, 167, 168, 174, 177, 178, 180, 181, 182, 183, 184, 185, 236, 246, 248, 249,
        250, 256, 279, 320, 323, 425, 426, 427,
    ],
    gated: &[
        (103, SYS_ADMIN | SYSLOG),  // syslog
        (153, SYS_TTY_CONFIG),      // vhangup
        (163, SYS_PACCT),           // acct
        (164, SYS_TIME),            // settimeofday
        (165, SYS_ADMIN),           // mount
        (166, SYS_ADMIN),           // umount2
        (169, SYS_BOOT),            // reboot
        (170, SYS_ADMIN),           // sethostname
        (171, SYS_ADMIN),           // setdomainname
        (172, SYS_RAWIO),           // iopl
        (173, SYS_RAWIO),           // ioperm
        (175, SYS_MODULE),          // init_module
        (176, SYS_MODULE),          // delete_module
        (179, SYS_ADMIN),           // quotactl
        (212, SYS_ADMIN),           // lookup_dcookie
        (227, SYS_TIME),            // clock_settime
        (237, SYS_NICE),            // mbind
        (238, SYS_NICE),            // set_mempolicy
        (239, SYS_NICE),            // get_mempolicy
        (272, SYS_ADMIN),           // unshare
        (298, SYS_ADMIN | PERFMON), // perf_event_open
        (300, SYS_ADMIN),           // fanotify_init
        (304, DAC_READ_SEARCH),     // open_by_handle_at
        (308, SYS_ADMIN),           // setns
        (312, SYS_PTRACE),          // kcmp
        (313, SYS_MODULE),          // finit_module
        (321, SYS_ADMIN | BPF),     // bpf
        (428, SYS_ADMIN),           // open_tree
        (429, SYS_ADMIN),           // move_mount
        (430, SYS_ADMIN),           // fsopen
        (431, SYS_ADMIN),           // fsconfig
        (432, SYS_ADMIN),           // fsmount
        (433, SYS_ADMIN),           // fspick
        (438, SYS_PTRACE),          // pidfd_getfd
        (440, SYS_PTRACE),          // process_madvise
        (442, SYS_ADMIN),           // mount_setattr
        (443, SYS_ADMIN),           // quotactl_fd
        (450, SYS_NICE),            // set_mempolicy_home_node
        (459, SYS_ADMIN),           // lsm_get_self_attr
        (460, SYS_ADMIN),           // lsm_set_self_attr
        (461, SYS_ADMIN),           // lsm_list_modules
    ],
    socket: 41,
    personality: 135,
    clone: 56,
    socketcall: None,
};

/// 32-bit x86 programs on x86_64.
pub const I386: Table = Table {
    audit_arch: 0x4000_0003,
    known: &[(0, 386), (393, 414), (416, 466)],
    // ustat, uselib, swapon, swapoff, create_module, get_kernel_syms, query_module, sysfs, afs_syscall, vm86old,
    // vm86, _sysctl, nfsservctl, getpmsg, putpmsg, pivot_root, vserver, kexec_load, add_key, request_key, keyctl,
    // migrate_pages, move_pages, userfaultfd, io_uring_*
    denied: &[
        62, 86, 87, 113, 115, 127, 130, 135, 137, 149, 166, 167, 169, 188, 189, 217, 273, 283, 286, 287, 288,
        294, 317, 374, 425, 426, 427,
    ],
    gated: &[
        (21, SYS_ADMIN),
        (22, SYS_ADMIN),
        (25, SYS_TIME),
        (51, SYS_PACCT),
        (52, SYS_ADMIN),
        (74, SYS_ADMIN),
        (79, SYS_TIME),
        (88, SYS_BOOT),
        (101, SYS_RAWIO),
        (103, SYS_ADMIN | SYSLOG),
        (110, SYS_RAWIO),
        (111, SYS_TTY_CONFIG),
        (121, SYS_ADMIN),
        (128, SYS_MODULE),
        (129, SYS_MODULE),
        (131, SYS_ADMIN),
        (253, SYS_ADMIN),
        (264, SYS_TIME),
        (274, SYS_NICE),
        (275, SYS_NICE),
        (276, SYS_NICE),
        (310, SYS_ADMIN),
        (336, SYS_ADMIN | PERFMON),
        (338, SYS_ADMIN),
        (342, DAC_READ_SEARCH),
        (346, SYS_ADMIN),
        (349, SYS_PTRACE),
        (350, SYS_MODULE),
        (357, SYS_ADMIN | BPF),
        (404, SYS_TIME),
        (428, SYS_ADMIN),
        (429, SYS_ADMIN),
        (430, SYS_ADMIN),
        (431, SYS_ADMIN),
        (432, SYS_ADMIN),
        (433, SYS_ADMIN),
        (438, SYS_PTRACE),
        (440, SYS_PTRACE),
        (442, SYS_ADMIN),
        (443, SYS_ADMIN),
        (450, SYS_NICE),
        (459, SYS_ADMIN),
        (460, SYS_ADMIN),
        (461, SYS_ADMIN),
    ],
    socket: 359,
    personality: 136,
    clone: 120,
    socketcall: Some(102),
};

/// 64-bit ARM.
pub const AARCH64: Table = Table {
    audit_arch: 0xc000_00b7,
    known: &[(0, 294), (424, 466)],
    // pivot_root, nfsservctl, kexec_load, swapon, swapoff, add_key, request_key, keyctl, migrate_pages,
    // move_pages, userfaultfd, kexec_file_load, io_uring_*
    denied: &[41, 42, 104, 217, 218, 219, 224, 225, 238, 239, 282, 294, 425, 426, 427],
    gated: &[
        (18, SYS_ADMIN),
        (39, SYS_ADMIN),
        (40, SYS_ADMIN),
        (58, SYS_TTY_CONFIG),
        (60, SYS_ADMIN),
        (89, SYS_PACCT),
        (97, SYS_ADMIN),
        (105, SYS_MODULE),
        (106, SYS_MODULE),
        (112, SYS_TIME),
        (116, SYS_ADMIN | SYSLOG),
        (142, SYS_BOOT),
        (161, SYS_ADMIN),
        (162, SYS_ADMIN),
        (170, SYS_TIME),
        (235, SYS_NICE),
        (236, SYS_NICE),
        (237, SYS_NICE),
        (241, SYS_ADMIN | PERFMON),
        (262, SYS_ADMIN),
        (265, DAC_READ_SEARCH),
        (268, SYS_ADMIN),
        (272, SYS_PTRACE),
        (273, SYS_MODULE),
        (280, SYS_ADMIN | BPF),
        (428, SYS_ADMIN),
        (429, SYS_ADMIN),
        (430, SYS_ADMIN),
        (431, SYS_ADMIN),
        (432, SYS_ADMIN),
        (433, SYS_ADMIN),
        (438, SYS_PTRACE),
        (440, SYS_PTRACE),
        (442, SYS_ADMIN),
        (443, SYS_ADMIN),
        (450, SYS_NICE),
        (459, SYS_ADMIN),
        (460, SYS_ADMIN),
        (461, SYS_ADMIN),
    ],
    socket: 198,
    personality: 92,
    clone: 220,
    socketcall: None,
};

/// The tables of the machine that this was built for, its own architecture first.
pub fn native() -> &'static [Table] {
    if cfg!(target_arch = "aarch64") { &[AARCH64] } else { &[X86_64, I386] }
}

impl Table {
    /// What happens to the call `number` in a process with these capabilities.
    pub fn verdict(&self, number: u32, caps: CapSet) -> Verdict {
        let admin = caps.0 & SYS_ADMIN != 0;
        if !self.known.iter().any(|(first, last)| (*first..=*last).contains(&number)) {
            // As a kernel that does not have it would say, so that programs fall back.
            return Verdict::Errno(ENOSYS);
        }
        if self.socketcall == Some(number) || (number == CLONE3 && !admin) {
            return Verdict::Errno(ENOSYS);
        }
        if number == self.clone && !admin {
            return Verdict::Check(Check::CloneFlags);
        }
        if number == self.socket {
            return Verdict::Check(Check::SocketFamily);
        }
        if number == self.personality {
            return Verdict::Check(Check::Personality);
        }
        let gate = self.gated.iter().find(|(gated, _)| *gated == number);
        let closed = gate.is_some_and(|(_, openers)| caps.0 & openers == 0);
        if closed || self.denied.contains(&number) { Verdict::Errno(EPERM) } else { Verdict::Allow }
    }

    /// The first number of each run of calls with the same verdict, in order; the last run has no end.
    pub fn ranges(&self, caps: CapSet) -> Vec<(u32, Verdict)> {
        let end = self.known.iter().map(|(_, last)| last + 1).max().unwrap_or(0);
        let mut ranges: Vec<(u32, Verdict)> = Vec::new();
        for number in 0..=end {
            let verdict = self.verdict(number, caps);
            if ranges.last().is_none_or(|(_, last)| *last != verdict) {
                ranges.push((number, verdict));
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: CapSet = CapSet(0xa804_25fb);

    #[test]
    fn gates_open_by_capability() {
        assert_eq!(X86_64.verdict(165, DEFAULT), Verdict::Errno(EPERM));
        assert_eq!(X86_64.verdict(165, CapSet(SYS_ADMIN)), Verdict::Allow);
        assert_eq!(X86_64.verdict(CLONE3, DEFAULT), Verdict::Errno(ENOSYS));
        assert_eq!(X86_64.verdict(CLONE3, CapSet(SYS_ADMIN)), Verdict::Allow);
        assert_eq!(X86_64.verdict(425, CapSet::all()), Verdict::Errno(EPERM));
        assert_eq!(X86_64.verdict(999, CapSet::all()), Verdict::Errno(ENOSYS));
        assert_eq!(X86_64.verdict(0, DEFAULT), Verdict::Allow);
        assert_eq!(I386.verdict(102, DEFAULT), Verdict::Errno(ENOSYS));
    }

    #[test]
    fn ranges_say_the_same_as_single_questions() {
        for table in [X86_64, I386, AARCH64] {
            let ranges = table.ranges(DEFAULT);
            for number in 0..600 {
                let at = ranges.partition_point(|(first, _)| *first <= number) - 1;
                assert_eq!(ranges[at].1, table.verdict(number, DEFAULT), "{number}");
            }
        }
    }
}
