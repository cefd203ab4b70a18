//! The mounts of a container, in the order in which they are made.

use kiln_sys::child::{Handle, Step};
use kiln_sys::mount::MountFlags;

use super::{CgroupView, InitProgram, Resolved, c};
use crate::error::Result;
use crate::profile::{DEVICE_LINKS, DEVICES, SHM_BYTES};
use crate::run_spec::{DeviceKind, DeviceNode, MountKind, NetworkSetup, RunSpec, UserMount};

const CHARACTER_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;
const REGULAR_FILE: u32 = 0o100_000;
const REMOUNT: u64 = 32;

/// Where the reaper's files are.
pub(crate) const INIT_FOLDER: &str = "/dev/.kiln-init";

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Adds every mount.
pub(super) fn add(steps: &mut Vec<Step>, spec: &RunSpec, resolved: &Resolved) -> Result<()> {
    // In a user namespace the kernel mounts one where another is in sight, from which nothing is hidden.
    let proc = resolved.borrowed.as_ref().and_then(|borrowed| borrowed.proc.as_ref());
    steps.push(match proc {
        Some(tree) => Step::Attach(tree.clone(), c("/proc")?),
        None => mount("proc", "/proc", "proc", SAFE, "")?,
    });
    steps.push(Step::LeaveHost);
    if proc.is_none() {
        add_sysctls(steps, spec, resolved)?;
    }
    add_dev(steps, spec, resolved)?;
    add_sys(steps, spec, resolved)?;
    for (tree, target) in &resolved.files {
        steps.push(Step::Attach(tree.clone(), c(target)?));
    }
    if !spec.security.is_unconfined() {
        add_masks(steps, resolved)?;
    }
    if let Some(init) = &resolved.init {
        add_init(steps, init)?;
    }
    for (mount, tree) in spec.mounts.iter().zip(&resolved.trees) {
        add_user(steps, mount, tree.as_ref().map(|t| (&t.tree, t.is_dir)))?;
    }
    Ok(())
}

/// As in Docker: any user may bind low ports and ping, in a network namespace of the container's own.
fn add_sysctls(steps: &mut Vec<Step>, spec: &RunSpec, resolved: &Resolved) -> Result<()> {
    if matches!(spec.network, NetworkSetup::Host) {
        return Ok(());
    }
    let settings = [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")];
    // A user namespace has not all groups that the second one names.
    let possible = if resolved.borrowed.is_some() { 1 } else { settings.len() };
    for (name, value) in &settings[..possible] {
        let path = c(&format!("/proc/sys/net/ipv4/{name}"))?;
        steps.push(Step::WriteFile { path, value: c(value)? });
    }
    Ok(())
}

fn add_dev(steps: &mut Vec<Step>, spec: &RunSpec, resolved: &Resolved) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::STRICTATIME;
    steps.push(mount("tmpfs", "/dev", "tmpfs", flags, "mode=755,size=65536k")?);
    for (index, (name, major, minor)) in DEVICES.into_iter().enumerate() {
        let path = c(&format!("/dev/{name}"))?;
        if let Some(borrowed) = &resolved.borrowed {
            steps.push(Step::MakeNode { path: path.clone(), mode: REGULAR_FILE | 0o666, device: 0 });
            steps.extend(borrowed.devices.get(index).map(|tree| Step::Attach(tree.clone(), path)));
            continue;
        }
        let device = kiln_sys::fs::makedev(major, minor);
        steps.push(Step::MakeNode { path, mode: CHARACTER_DEVICE | 0o666, device });
    }
    for (path, mode, device) in &resolved.devices {
        steps.push(Step::MakeNode { path: c(path)?, mode: *mode, device: *device });
    }
    for device in &spec.devices {
        add_device(steps, device, resolved)?;
    }
    for (name, target) in DEVICE_LINKS {
        steps.push(Step::MakeLink { target: c(target)?, path: c(&format!("/dev/{name}"))? });
    }
    for name in ["pts", "shm", "mqueue"] {
        steps.push(Step::MakeDir { path: c(&format!("/dev/{name}"))?, mode: 0o755 });
    }
    add_pts(steps, resolved)?;
    let size = format!("mode=1777,size={}", spec.shm_size.unwrap_or(SHM_BYTES));
    steps.push(mount("shm", "/dev/shm", "tmpfs", SAFE, &size)?);
    steps.push(mount("mqueue", "/dev/mqueue", "mqueue", SAFE, "")?);
    Ok(())
}

/// A node with the folders above it. One that every container has is left as it is.
fn add_device(steps: &mut Vec<Step>, node: &DeviceNode, resolved: &Resolved) -> Result<()> {
    if is_default_device(&node.path) {
        return Ok(());
    }
    add_folders_in_dev(steps, &node.path)?;
    let kind = match node.kind {
        DeviceKind::Character => CHARACTER_DEVICE,
        DeviceKind::Block => BLOCK_DEVICE,
        DeviceKind::Fifo => FIFO,
    };
    let device = kiln_sys::fs::makedev(node.major, node.minor);
    steps.push(Step::MakeNode { path: c(&node.path)?, mode: kind | node.mode, device });
    let (uid, gid) = (node.uid.unwrap_or(resolved.ids.uid), node.gid.unwrap_or(resolved.ids.gid));
    if (uid, gid) != (0, 0) {
        steps.push(Step::Owner { path: c(&node.path)?, uid, gid });
    }
    Ok(())
}

fn is_default_device(path: &str) -> bool {
    DEVICES.iter().any(|(name, ..)| path.strip_prefix("/dev/") == Some(name))
}

/// The folders between `/dev` and the last name of `path`.
fn add_folders_in_dev(steps: &mut Vec<Step>, path: &str) -> Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 4);
    for end in ends {
        steps.push(Step::MakeDir { path: c(&path[..end])?, mode: 0o755 });
    }
    Ok(())
}

/// The group of terminals, `tty`, in all distributions.
pub(crate) const TERMINALS: u32 = 5;
/// The options of every `devpts` instance.
const DEVPTS_OPTIONS: [(&str, &str); 3] = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];

/// The options of a `devpts` instance where the group of terminals exists, or does not.
pub(crate) fn devpts_options(has_terminals: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    DEVPTS_OPTIONS.into_iter().take(if has_terminals { 3 } else { 2 })
}

fn add_pts(steps: &mut Vec<Step>, resolved: &Resolved) -> Result<()> {
    let Some(devpts) = &resolved.devpts else {
        let has_terminals = resolved.borrowed.as_ref().is_none_or(|borrowed| borrowed.has_terminals);
        let options: Vec<_> =
            devpts_options(has_terminals).map(|(name, value)| format!("{name}={value}")).collect();
        let options = options.join(",");
        steps.push(mount("devpts", "/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, &options)?);
        return Ok(());
    };
    steps.push(Step::Attach(devpts.clone(), c("/dev/pts")?));
    // The first terminal of a fresh instance, before anybody else is in the container.
    steps.push(Step::MakeNode { path: c("/dev/console")?, mode: REGULAR_FILE | 0o600, device: 0 });
    steps.push(mount("/dev/pts/0", "/dev/console", "", MountFlags::BIND, "")?);
    Ok(())
}

fn add_sys(steps: &mut Vec<Step>, spec: &RunSpec, resolved: &Resolved) -> Result<()> {
    let access = if spec.security.is_unconfined() { MountFlags::NONE } else { MountFlags::READONLY };
    if let Some(borrowed) = &resolved.borrowed {
        // With its control groups, read-only.
        steps.push(Step::Attach(borrowed.sys.clone(), c("/sys")?));
        return Ok(());
    }
    steps.push(mount("sysfs", "/sys", "sysfs", SAFE | access, "")?);
    match &resolved.cgroup_view {
        CgroupView::None => {}
        CgroupView::Unified => {
            steps.push(mount("cgroup", "/sys/fs/cgroup", "cgroup2", SAFE | access, "")?);
        }
        CgroupView::Legacy(hierarchies) => {
            steps.push(mount("tmpfs", "/sys/fs/cgroup", "tmpfs", SAFE, "mode=755")?);
            for controllers in hierarchies {
                let path = format!("/sys/fs/cgroup/{}", controllers.trim_start_matches("name="));
                steps.push(Step::MakeDir { path: c(&path)?, mode: 0o755 });
                steps.push(mount("cgroup", &path, "cgroup", SAFE | access, controllers)?);
            }
        }
    }
    Ok(())
}

fn add_masks(steps: &mut Vec<Step>, resolved: &Resolved) -> Result<()> {
    for (path, is_dir) in &resolved.masked {
        steps.push(if *is_dir {
            mount("tmpfs", path, "tmpfs", MountFlags::READONLY, "")?
        } else {
            mount("/dev/null", path, "", MountFlags::BIND, "")?
        });
    }
    let bind = MountFlags::BIND | MountFlags::REC;
    let readonly = MountFlags(MountFlags::BIND.0 | REMOUNT) | MountFlags::READONLY | SAFE;
    for path in &resolved.readonly {
        steps.push(mount(path, path, "", bind, "")?);
        steps.push(mount("none", path, "", readonly, "")?);
    }
    Ok(())
}

fn add_init(steps: &mut Vec<Step>, init: &InitProgram) -> Result<()> {
    steps.push(Step::MakeDir { path: c(INIT_FOLDER)?, mode: 0o755 });
    for (tree, name) in &init.files {
        let path = format!("{INIT_FOLDER}/{name}");
        steps.push(Step::MakeNode { path: c(&path)?, mode: REGULAR_FILE | 0o555, device: 0 });
        steps.push(Step::Attach(tree.clone(), c(&path)?));
    }
    Ok(())
}

fn add_user(steps: &mut Vec<Step>, user: &UserMount, tree: Option<(&Handle, bool)>) -> Result<()> {
    add_place_in_dev(steps, user, tree.is_none_or(|(_, is_dir)| is_dir))?;
    match (&user.kind, tree) {
        (MountKind::Tmpfs { size, mode, exec }, _) => {
            let mut options = format!("mode={:o}", mode.unwrap_or(0o1777));
            if let Some(size) = size {
                options += &format!(",size={size}");
            }
            let mut flags = if *exec { MountFlags::NOSUID | MountFlags::NODEV } else { SAFE };
            if user.readonly {
                flags |= MountFlags::READONLY;
            }
            steps.push(mount("tmpfs", &user.target, "tmpfs", flags, &options)?);
        }
        (MountKind::Bind { .. } | MountKind::Tree(_), Some((tree, _))) => {
            steps.push(Step::Attach(tree.clone(), c(&user.target)?));
        }
        (MountKind::Bind { source }, None) => {
            let tree = Handle::unopened(format!("bind:{}", source.display()));
            steps.push(Step::Attach(tree, c(&user.target)?));
        }
        (MountKind::Tree(_), None) => {
            steps.push(Step::Attach(Handle::unopened("tree"), c(&user.target)?));
        }
    }
    Ok(())
}

/// `/dev` is made in the child, so that mount points in it are, too.
fn add_place_in_dev(steps: &mut Vec<Step>, user: &UserMount, is_dir: bool) -> Result<()> {
    if !user.target.starts_with("/dev/") {
        return Ok(());
    }
    add_folders_in_dev(steps, &user.target)?;
    if is_dir {
        steps.push(Step::MakeDir { path: c(&user.target)?, mode: 0o755 });
    } else if !is_default_device(&user.target) {
        steps.push(Step::MakeNode { path: c(&user.target)?, mode: REGULAR_FILE | 0o600, device: 0 });
    }
    Ok(())
}

fn mount(source: &str, target: &str, fs_type: &str, flags: MountFlags, data: &str) -> Result<Step> {
    Ok(Step::Mount {
        source: c(source)?,
        target: c(target)?,
        fs_type: c(fs_type)?,
        flags: flags.0,
        data: c(data)?,
    })
}
