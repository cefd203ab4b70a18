//! What the parent finds out and opens before the first process exists.

pub mod borrowed;
pub mod lowest;
pub mod machine;
pub mod program;
pub mod reaper;
pub mod stdio;
pub mod stubs;
pub mod view;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_sys::child::Handle;
use kiln_sys::fs::{self, Root};
use kiln_sys::mount::{Mount, MountFlags};

use crate::cgroup::Cgroup;
use crate::error::{Error, Preparing, Result};
use crate::launch::Stdio;
use crate::plan::{CgroupView, Resolved, UserTree, user};
use crate::profile::{CPU_FOLDER, DEFAULT_PATH, DEVICES, MASKED_PATHS, READONLY_PATHS};
use crate::run_spec::{
    DeviceNode, EtcFiles, MountKind, NetworkSetup, Process, Propagation, RunSpec, UserMount,
};
use stubs::{Kind, Stubs};
use view::{Place, Tree, View};

/// Everything that is ready before the launch.
#[derive(Debug)]
pub struct Prepared {
    /// Input of the plan.
    pub resolved: Resolved,
    /// What to take away at the end.
    pub stubs: Stubs,
    /// The terminal's master side.
    pub master: Option<OwnedFd>,
    /// The architecture that the program is made for where that is not this machine's.
    pub foreign: Option<&'static str>,
}

/// Opens and looks up all that `spec` names, which must be valid.
pub fn prepare(spec: &RunSpec, stdio: Stdio, cgroup: Option<&Cgroup>) -> Result<Prepared> {
    let mut stubs = Stubs::default();
    let result = resolve(spec, stdio, cgroup, &mut stubs);
    match result {
        Ok((resolved, master, foreign)) => Ok(Prepared { resolved, stubs, master, foreign }),
        Err(error) => {
            stubs.remove();
            Err(error)
        }
    }
}

fn resolve(
    spec: &RunSpec,
    stdio: Stdio,
    cgroup: Option<&Cgroup>,
    stubs: &mut Stubs,
) -> Result<(Resolved, Option<OwnedFd>, Option<&'static str>)> {
    let root = Arc::new(root_mount(spec)?);
    let own = root.try_clone().map_err(|e| Error::Invalid(format!("duplicate a descriptor: {e}")))?;
    let mut view = View::new(Root::from_fd(own));
    place_kernel_folders(view.root(), stubs)?;
    let mut files = rootfs_mounts(spec, &mut view, stubs)?;
    files.extend(etc_files(&spec.etc, view.root(), stubs)?);
    let trees = user_mounts(&spec.mounts, &mut view, stubs)?;
    let user = user::lookup(view.root(), &spec.process.user, &spec.process.groups)?;
    make_cwd(&view, &spec.process.cwd)?;
    let env = environment(&spec.process, &user.home);
    let program = spec.process.args.first().map_or("", String::as_str);
    let program::Found { candidates, foreign } = program::find(&view, program, &env, &spec.process.cwd)?;
    let io = stdio::open(stdio)?;
    let unconfined = spec.security.is_unconfined();
    let borrowed = borrowed::of_host(spec.host_proc)?;
    let resolved = Resolved {
        root: Handle::new(root, "root"),
        network: network(&spec.network),
        cgroup_procs: cgroup.map_or_else(|| Ok(Vec::new()), cgroup_procs)?,
        cgroup_view: cgroup.map_or(CgroupView::None, cgroup_view),
        stdio: io.handles,
        devpts: io.devpts,
        ids: user.ids,
        candidates,
        env,
        files,
        trees,
        devices: if unconfined && borrowed.is_none() { host_devices(&spec.devices) } else { Vec::new() },
        borrowed,
        masked: if unconfined { Vec::new() } else { masked_paths() },
        readonly: if unconfined { Vec::new() } else { readonly_paths() },
        init: if spec.init { Some(reaper::program()?) } else { None },
    };
    Ok((resolved, io.master, foreign))
}

/// The id becomes a folder's name, a host name is limited by the kernel, and without a command nothing runs.
pub fn validate(spec: &RunSpec) -> Result<()> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let id = &spec.id;
    if id.is_empty() || id.len() > 128 || !id.bytes().all(safe) || id.bytes().all(|b| b == b'.') {
        return Err(Error::Invalid(format!("invalid container id `{}`", id.escape_debug())));
    }
    if spec.hostname.len() > 64 {
        return Err(Error::Invalid(format!("the host name `{}` is longer than 64 bytes", spec.hostname)));
    }
    if spec.process.args.is_empty() {
        return Err(Error::Invalid("no command specified".to_owned()));
    }
    let is_access = |device: &&DeviceNode| device.access.bytes().all(|b| b"rwm".contains(&b));
    match spec.devices.iter().find(|device| !is_access(device) || !is_below_dev(&device.path)) {
        Some(device) => Err(Error::Invalid(format!("no device node can be made at `{}`", device.path))),
        None => Ok(()),
    }
}

/// Whether the path is one below `/dev` without steps back.
fn is_below_dev(path: &str) -> bool {
    path.strip_prefix("/dev/")
        .is_some_and(|rest| rest.split('/').all(|name| !matches!(name, "" | "." | "..")))
}

fn root_mount(spec: &RunSpec) -> Result<OwnedFd> {
    let root = spec.rootfs.iter().find(|m| m.target.as_os_str().is_empty());
    let root = root.ok_or_else(|| Error::Invalid("the run has no root file system".to_owned()))?;
    let root = match &spec.etc.lowest {
        Some(folder) => &lowest::below(root, folder),
        None => root,
    };
    root.detached().preparing(|| "mount the root file system".to_owned())
}

/// `/proc`, `/sys` and `/dev` must be plain directories of the root: a link could lead the mounts elsewhere.
fn place_kernel_folders(root: &Root, stubs: &mut Stubs) -> Result<()> {
    for name in ["proc", "sys", "dev"] {
        match fs::statat(root.as_fd(), name) {
            Ok(stat) if stat.is_dir() => {}
            Ok(_) => return Err(Error::Invalid(format!("`/{name}` of the image is not a directory"))),
            Err(error) if error.is_not_found() => {
                stubs.place(root, Path::new(name), Kind::Dir).preparing(|| format!("make `/{name}`"))?;
            }
            Err(error) => return Err(error).preparing(|| format!("look at `/{name}` of the image")),
        }
    }
    Ok(())
}

/// Mounts of the root file system other than the root itself.
fn rootfs_mounts(spec: &RunSpec, view: &mut View, stubs: &mut Stubs) -> Result<Vec<(Handle, String)>> {
    let mut files = Vec::new();
    for mount in spec.rootfs.iter().filter(|m| !m.target.as_os_str().is_empty()) {
        let target = Path::new("/").join(&mount.target);
        let tree = mount.detached().preparing(|| format!("mount `{}`", target.display()))?;
        let kind = kind_of(&tree)?;
        place(view, stubs, &target, kind)?;
        files.push((Handle::new(clone(&tree)?, mount.fs_type.clone()), text(&target)));
        view.mount(&target, held(tree, kind));
    }
    Ok(files)
}

fn etc_files(etc: &EtcFiles, root: &Root, stubs: &mut Stubs) -> Result<Vec<(Handle, String)>> {
    let EtcFiles { resolv_conf, hosts, hostname, readonly, lowest: _ } = etc;
    let mut files = Vec::new();
    for (source, target) in
        [(resolv_conf, "/etc/resolv.conf"), (hosts, "/etc/hosts"), (hostname, "/etc/hostname")]
    {
        let Some(source) = source else { continue };
        stubs.place(root, Path::new(target), Kind::File).preparing(|| format!("make room for `{target}`"))?;
        let tree = bind(source, *readonly, Propagation::Private)?;
        files.push((Handle::new(tree, "etc"), target.to_owned()));
    }
    Ok(files)
}

fn user_mounts(mounts: &[UserMount], view: &mut View, stubs: &mut Stubs) -> Result<Vec<Option<UserTree>>> {
    mounts.iter().map(|mount| user_mount(mount, view, stubs)).collect()
}

fn user_mount(mount: &UserMount, view: &mut View, stubs: &mut Stubs) -> Result<Option<UserTree>> {
    let target = target_of(mount)?;
    let in_dev = target.starts_with("/dev");
    let (tree, label) = match &mount.kind {
        MountKind::Bind { source } => {
            (bind(source, mount.readonly, mount.propagation)?, format!("bind:{}", source.display()))
        }
        MountKind::Tree(tree) => (own_tree(&tree.0, mount.readonly)?, "tree".to_owned()),
        MountKind::Tmpfs { .. } => {
            if !in_dev {
                place(view, stubs, &target, Kind::Dir)?;
            }
            view.mount(&target, Tree::Later);
            return Ok(None);
        }
    };
    let kind = kind_of(&tree)?;
    if !in_dev {
        place(view, stubs, &target, kind)?;
    }
    let handle = Handle::new(clone(&tree)?, label);
    view.mount(&target, held(tree, kind));
    Ok(Some(UserTree { tree: handle, is_dir: kind == Kind::Dir }))
}

fn target_of(mount: &UserMount) -> Result<PathBuf> {
    let target = view::normalise(Path::new(&mount.target));
    let refused = target == Path::new("/") || target.starts_with("/proc") || target == Path::new("/dev");
    if refused || !mount.target.starts_with('/') {
        return Err(Error::Invalid(format!("nothing can be mounted at `{}`", mount.target)));
    }
    Ok(target)
}

/// Makes sure that a target exists in whatever will be mounted there by then.
fn place(view: &View, stubs: &mut Stubs, target: &Path, kind: Kind) -> Result<()> {
    match view.place(target) {
        Place::In(root, inner) => stubs
            .place(root, &inner, kind)
            .preparing(|| format!("make the mount point `{}`", target.display())),
        // Mounted over another bind of the same file.
        Place::File(_) if kind == Kind::File => Ok(()),
        Place::File(_) | Place::Later => {
            Err(Error::Invalid(format!("`{}` lies in another mount that is still empty", target.display())))
        }
    }
}

pub(crate) fn bind(source: &Path, readonly: bool, propagation: Propagation) -> Result<OwnedFd> {
    let mut mount = Mount::bind(source, "");
    mount.flags |= match propagation {
        Propagation::Private => MountFlags::PRIVATE,
        Propagation::Slave => MountFlags::SLAVE,
        Propagation::Shared => MountFlags::SHARED,
    };
    if readonly {
        mount.flags |= MountFlags::READONLY;
    }
    mount.detached().preparing(|| format!("bind `{}`", source.display()))
}

fn own_tree(tree: &OwnedFd, readonly: bool) -> Result<OwnedFd> {
    if readonly {
        kiln_sys::mount::set_readonly(tree.as_fd()).preparing(|| "make a mount read-only".to_owned())?;
    }
    clone(tree)
}

fn kind_of(tree: &OwnedFd) -> Result<Kind> {
    let stat = fs::fstat(tree.as_fd()).preparing(|| "look at a mount".to_owned())?;
    Ok(if stat.is_dir() { Kind::Dir } else { Kind::File })
}

fn held(tree: OwnedFd, kind: Kind) -> Tree {
    match kind {
        Kind::Dir => Tree::Dir(Root::from_fd(tree)),
        Kind::File => Tree::File(tree),
    }
}

fn clone(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone().map_err(|e| Error::Invalid(format!("duplicate a descriptor: {e}")))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Makes the working directory, as Docker does; it is a real folder of the container, not a stub.
fn make_cwd(view: &View, cwd: &str) -> Result<()> {
    if cwd.is_empty() || cwd == "/" {
        return Ok(());
    }
    if !cwd.starts_with('/') {
        return Err(Error::Invalid(format!("the working directory `{cwd}` is not absolute")));
    }
    let path = view::normalise(Path::new(cwd));
    if ["/proc", "/sys", "/dev"].iter().any(|kernel| path.starts_with(kernel)) {
        // Made by the kernel or not there; the child finds out, and that it lies inside.
        return Ok(());
    }
    match view.place(&path) {
        Place::In(root, inner) => {
            let made = root.create_dir_all(&inner, 0o755, None);
            made.map(drop).preparing(|| format!("make the working directory `{cwd}`"))
        }
        Place::File(_) => Err(Error::Invalid(format!("the working directory `{cwd}` is a file"))),
        Place::Later => Ok(()),
    }
}

/// The environment with what every process gets.
pub(crate) fn environment(process: &Process, home: &str) -> Vec<String> {
    let mut env = process.env.clone();
    let defaults =
        [("PATH", Some(DEFAULT_PATH)), ("TERM", process.tty.then_some("xterm")), ("HOME", Some(home))];
    for (name, value) in defaults {
        let Some(value) = value else { continue };
        let set = |entry: &String| entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        if !env.iter().any(set) {
            env.push(format!("{name}={value}"));
        }
    }
    env
}

fn network(setup: &NetworkSetup) -> Option<Handle> {
    match setup {
        NetworkSetup::Namespace(namespace) => Some(Handle::new(Arc::clone(namespace), "network")),
        NetworkSetup::Host | NetworkSetup::None => None,
    }
}

pub(crate) fn cgroup_procs(cgroup: &Cgroup) -> Result<Vec<Handle>> {
    let owned = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd| Handle::new(fd, "cgroup"));
    let handles: std::io::Result<Vec<_>> = cgroup.procs().map(owned).collect();
    handles.map_err(|e| Error::Invalid(format!("duplicate a descriptor: {e}")))
}

/// Where control groups are mounted on every host that this runs on.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

fn cgroup_view(cgroup: &Cgroup) -> CgroupView {
    let mut hierarchies: Vec<String> = Vec::new();
    for path in cgroup.paths() {
        let Ok(inner) = path.strip_prefix(CGROUP_ROOT) else { continue };
        if Path::new(CGROUP_ROOT).join("cgroup.controllers").exists() {
            return CgroupView::Unified;
        }
        // A mixed host's second-version tree has no limits to show.
        match inner.iter().next().and_then(|name| name.to_str()) {
            None | Some("unified") => {}
            Some("systemd") => hierarchies.push("none,name=systemd".to_owned()),
            Some(name) => hierarchies.push(name.to_owned()),
        }
    }
    if hierarchies.is_empty() { CgroupView::None } else { CgroupView::Legacy(hierarchies) }
}

/// The host's devices, for a container that may use them all. Those that it has anyway are left out.
fn host_devices(given: &[DeviceNode]) -> Vec<(String, u32, u64)> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let own =
        |name: &str| name == "console" || name == "ptmx" || DEVICES.iter().any(|(known, ..)| *known == name);
    let device = |entry: std::fs::DirEntry| {
        let (name, meta) = (entry.file_name().into_string().ok()?, entry.metadata().ok()?);
        let is_device = meta.file_type().is_char_device() || meta.file_type().is_block_device();
        let path = format!("/dev/{name}");
        let is_given = own(&name) || given.iter().any(|node| node.path == path);
        (is_device && !is_given).then(|| (path, meta.mode(), meta.rdev()))
    };
    let mut devices: Vec<_> =
        std::fs::read_dir("/dev").into_iter().flatten().flatten().filter_map(device).collect();
    devices.sort();
    devices
}

/// The masked paths that this kernel has. The container's own `/proc` and `/sys` have the same.
fn masked_paths() -> Vec<(String, bool)> {
    let kind = |path: String| std::fs::metadata(&path).ok().map(|meta| (path, meta.is_dir()));
    MASKED_PATHS.iter().map(|p| (*p).to_owned()).chain(thermal_folders()).filter_map(kind).collect()
}

fn thermal_folders() -> Vec<String> {
    let folders = std::fs::read_dir(CPU_FOLDER).into_iter().flatten().flatten();
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let mut paths: Vec<_> = names
        .filter(|n| n.starts_with("cpu"))
        .map(|n| format!("{CPU_FOLDER}/{n}/thermal_throttle"))
        .collect();
    paths.sort();
    paths
}

fn readonly_paths() -> Vec<String> {
    READONLY_PATHS.iter().filter(|path| Path::new(path).exists()).map(|path| (*path).to_owned()).collect()
}
