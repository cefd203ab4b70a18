//! A plan as text: one line a step, for people, golden tests and error messages.

use std::ffi::{CStr, CString};
use std::fmt;

use super::plan::{InitPlan, Namespaces, Step};

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::MOUNT, "mount"),
            (Self::PID, "pid"),
            (Self::IPC, "ipc"),
            (Self::UTS, "uts"),
            (Self::NETWORK, "network"),
            (Self::CGROUP, "cgroup"),
        ];
        let names: Vec<_> = names.iter().filter(|(ns, _)| self.contains(*ns)).map(|(_, n)| *n).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Display for InitPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "clone {}", self.namespaces)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinCgroup(procs) => write!(f, "join-cgroup {}", procs.label),
            Self::Unshare(ns) => write!(f, "unshare {ns}"),
            Self::JoinNamespaces(of, ns) => write!(f, "join-namespaces {ns} of {}", of.label),
            Self::PrivateMounts => f.write_str("private-mounts"),
            Self::LeaveHost => f.write_str("leave-host"),
            Self::EnterRoot(root) => write!(f, "enter-root {}", root.label),
            Self::Mount { source, target, fs_type, flags, data } => {
                write!(f, "mount {} on {}", text(source), text(target))?;
                write!(f, "{}{}", prefixed(" type ", fs_type), flag_names(*flags))?;
                write!(f, "{}", prefixed(" ", data))
            }
            Self::Attach(tree, target) => write!(f, "attach {} at {}", tree.label, text(target)),
            Self::ReadonlyRoot => f.write_str("readonly-root"),
            Self::MakeDir { path, mode } => write!(f, "mkdir {} {mode:04o}", text(path)),
            Self::MakeNode { path, mode, device } => write!(
                f,
                "mknod {} {mode:o} {}:{}",
                text(path),
                rustix::fs::major(*device),
                rustix::fs::minor(*device)
            ),
            Self::Owner { path, uid, gid } => write!(f, "chown {} {uid}:{gid}", text(path)),
            Self::MakeLink { target, path } => write!(f, "symlink {} -> {}", text(path), text(target)),
            Self::WriteFile { path, value } => write!(f, "write {} {}", text(path), text(value).trim()),
            Self::Hostname(name) => write!(f, "hostname {}", text(name)),
            Self::LoopbackUp => f.write_str("loopback-up"),
            Self::NewSession => f.write_str("new-session"),
            Self::Stdio([stdin, stdout, stderr]) => {
                write!(f, "stdio {} {} {}", stdin.label, stdout.label, stderr.label)
            }
            Self::ControllingTerminal => f.write_str("controlling-terminal"),
            Self::Rlimit { resource, soft, hard } => write!(f, "rlimit {resource} {soft} {hard}"),
            Self::Umask(mask) => write!(f, "umask {mask:04o}"),
            Self::Bounding(keep, _) => write!(f, "bounding-set {keep:016x}"),
            Self::NoNewPrivileges => f.write_str("no-new-privileges"),
            Self::Seccomp(program) => write!(f, "seccomp {} instructions", program.len()),
            Self::KeepCapabilities => f.write_str("keep-capabilities"),
            Self::User(ids) => write!(f, "user {}:{} groups {:?}", ids.uid, ids.gid, ids.groups),
            Self::Capabilities(set) => write!(f, "capabilities {set:016x}"),
            Self::AmbientCapabilities(set) => write!(f, "ambient-capabilities {set:016x}"),
            Self::WorkingDirectory(path) => write!(f, "chdir {}", text(path)),
            Self::DieWithParent => f.write_str("die-with-parent"),
            Self::CloseDescriptors => f.write_str("close-descriptors"),
            Self::Exec(exec) => {
                write!(f, "exec {}", join(&exec.candidates))?;
                write!(f, " args [{}]", join(exec.args.strings()))
            }
        }
    }
}

fn text(s: &CStr) -> String {
    s.to_string_lossy().into_owned()
}

fn prefixed(prefix: &str, s: &CStr) -> String {
    if s.is_empty() { String::new() } else { format!("{prefix}{}", text(s)) }
}

fn join(strings: &[CString]) -> String {
    strings.iter().map(|s| text(s)).collect::<Vec<_>>().join(" ")
}

fn flag_names(flags: u64) -> String {
    let names = [
        (libc::MS_BIND, "bind"),
        (libc::MS_REC, "rec"),
        (libc::MS_REMOUNT, "remount"),
        (libc::MS_RDONLY, "ro"),
        (libc::MS_NOSUID, "nosuid"),
        (libc::MS_NODEV, "nodev"),
        (libc::MS_NOEXEC, "noexec"),
        (libc::MS_STRICTATIME, "strictatime"),
    ];
    let names: Vec<_> = names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, n)| *n).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(",")) }
}
