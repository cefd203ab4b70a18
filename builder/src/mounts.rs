//! The mounts of a step's process: its root, and what it asked to see beside it.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use kiln_cache::{CacheDir, Sharing};
use kiln_graph::{CacheSharing, ExecOp, Mount};
use kiln_runtime::{MountKind, Propagation, Rlimit, UserMount};
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_sys::fs::{self, Owner, Root};
use kiln_sys::mount::{MountFlags, MountOption};

use crate::error::Cause;
use crate::session::Session;
use crate::stores::Stores;
use crate::value::{Layers, Value};
use crate::workspace::{View, Workspace};

/// The most bytes of one secret.
const MAX_SECRET: usize = 500 << 10;
/// Where a secret without a target is put.
const SECRETS: &str = "/run/secrets";

/// Everything mounted for one process.
#[derive(Debug)]
pub struct Prepared {
    root: Workspace,
    keeps: bool,
    /// What is mounted beside the root.
    pub user_mounts: Vec<UserMount>,
    /// Variables that secrets become.
    pub env: Vec<String>,
    guards: Vec<Guard>,
}

/// What must live as long as a mount.
#[derive(Debug)]
enum Guard {
    Cache {
        _dir: CacheDir,
    },
    /// The descriptor that a path leads to, and the mount it is on: closing that would end the mount.
    Tree {
        _fd: OwnedFd,
        _mount: Root,
        _workspace: Option<Workspace>,
        _view: Option<View>,
    },
}

impl Prepared {
    /// An id that no other container has; the name of its cgroup.
    pub fn id(&self) -> String {
        self.root.key().to_string()
    }

    /// The mounts of the root.
    pub fn rootfs(&self) -> Vec<kiln_sys::mount::Mount> {
        self.root.mounts()
    }

    /// Whether the process may not write to the root.
    pub fn is_readonly(&self) -> bool {
        !self.keeps
    }

    /// Makes a layer of what the process wrote to the root.
    pub fn commit(self) -> Result<Layers, Cause> {
        drop(self.guards);
        if self.keeps { self.root.commit() } else { Ok(self.root.parent().clone()) }
    }
}

/// Gets everything ready that `op` mounts. May wait for a locked cache directory until `cancelled`.
pub fn prepare(
    stores: &Arc<Stores>,
    op: &ExecOp,
    inputs: &[Value],
    session: &Session,
    cancelled: &dyn Fn() -> bool,
) -> Result<Prepared, Cause> {
    let Some(Mount::Bind { input, source, target, output, .. }) = op.mounts.first() else {
        return Err(Cause::Invalid("a process without a root filesystem".to_owned()));
    };
    if (source.as_str(), target.as_str()) != ("/", "/") || output.is_some_and(|output| output != 0) {
        return Err(Cause::Invalid("the first mount of a process must be its root".to_owned()));
    }
    let base = match input {
        None => Layers::scratch(),
        Some(input) => layers(inputs, *input)?,
    };
    let root = Workspace::for_process(&stores.store, &base, &stores.cgroup_parent)?;
    let prepared = Prepared {
        root,
        keeps: output.is_some(),
        user_mounts: Vec::new(),
        env: Vec::new(),
        guards: Vec::new(),
    };
    let mut preparing = Preparing { stores, inputs, session, cancelled, prepared };
    op.mounts[1..].iter().try_for_each(|mount| preparing.add(mount))?;
    Ok(preparing.prepared)
}

fn layers(inputs: &[Value], input: u32) -> Result<Layers, Cause> {
    match inputs.get(input as usize) {
        Some(Value::Layers(layers)) => Ok(layers.clone()),
        Some(Value::Files(_)) => {
            Err(Cause::Invalid("a local context cannot be a root filesystem".to_owned()))
        }
        None => Err(Cause::Invalid(format!("input {input} is missing"))),
    }
}

struct Preparing<'a> {
    stores: &'a Arc<Stores>,
    inputs: &'a [Value],
    session: &'a Session,
    cancelled: &'a dyn Fn() -> bool,
    prepared: Prepared,
}

impl Preparing<'_> {
    fn add(&mut self, mount: &Mount) -> Result<(), Cause> {
        match mount {
            Mount::Bind { output: Some(_), .. } => {
                Err(Cause::Unsupported("a second output of a process".to_owned()))
            }
            Mount::Bind { input, source, target, readonly, output: None } => {
                self.bind(*input, source, target, *readonly)
            }
            Mount::Tmpfs { target, size } => {
                self.push(MountKind::Tmpfs { size: *size, mode: None }, target, false);
                Ok(())
            }
            Mount::Cache { .. } => self.cache(mount),
            Mount::Secret { .. } => self.secret(mount),
            Mount::Ssh { id, target, required, .. } => self.ssh(id, target, *required),
        }
    }

    fn push(&mut self, kind: MountKind, target: &str, readonly: bool) {
        let propagation = Propagation::Private;
        self.prepared.user_mounts.push(UserMount { kind, target: target.to_owned(), readonly, propagation });
    }

    /// A tree of an input. What is written to it is thrown away, so it is always a copy or a view, never the original.
    fn bind(&mut self, input: Option<u32>, source: &str, target: &str, readonly: bool) -> Result<(), Cause> {
        let value = match input {
            None => Value::Layers(Layers::scratch()),
            Some(input) => {
                let missing = || Cause::Invalid(format!("input {input} is missing"));
                self.inputs.get(input as usize).cloned().ok_or_else(missing)?
            }
        };
        let store = &self.stores.store;
        let (root, workspace, view) = match &value {
            Value::Layers(layers) if readonly => {
                let view = View::of(store, layers)?;
                (view.root()?, None, Some(view))
            }
            Value::Layers(layers) => {
                let workspace = Workspace::on(store, layers)?;
                (workspace.root()?, Some(workspace), None)
            }
            Value::Files(files) => {
                let workspace = Workspace::on(store, &Layers::scratch())?;
                let root = workspace.root()?;
                let path = relative(source);
                let beneath = files.beneath(&path);
                let mut options = CopyOptions::exact();
                options.owner = Some(Owner { uid: 0, gid: 0 });
                options.filter = Some(&beneath);
                options.parents =
                    Some(kiln_snapshot::copy::Parents { mode: 0o755, owner: Owner { uid: 0, gid: 0 } });
                options.follow_source = true;
                copy(&files.root, &path, &root, &path, &options)?;
                (root, Some(workspace), None)
            }
        };
        let missing = |_| Cause::NotFound {
            path: source.to_owned(),
            place: "the source of a mount".to_owned(),
            hint: None,
        };
        let fd = root.resolve(relative(source), true).map_err(missing)?;
        self.push(MountKind::Bind { source: fs::proc_path(&fd) }, target, readonly);
        self.prepared.guards.push(Guard::Tree { _fd: fd, _mount: root, _workspace: workspace, _view: view });
        Ok(())
    }

    fn cache(&mut self, mount: &Mount) -> Result<(), Cause> {
        let Mount::Cache { input, source, target, readonly, id, sharing, mode, uid, gid } = mount else {
            return Ok(());
        };
        let sharing = match sharing {
            CacheSharing::Shared => Sharing::Shared,
            CacheSharing::Private => Sharing::Private,
            CacheSharing::Locked => Sharing::Locked,
        };
        let dir = self.stores.store.cache_dirs.acquire(id, sharing, self.cancelled)?;
        if dir.is_fresh() {
            let root = Root::open(dir.path())?;
            if let Some(input) = input {
                let view = View::of(&self.stores.store, &layers(self.inputs, *input)?)?;
                copy(&view.root()?, &relative(source), &root, Path::new("."), &CopyOptions::exact())?;
            }
            fs::fchown(root.as_fd(), Owner { uid: *uid, gid: *gid })?;
            fs::fchmod(root.as_fd(), *mode)?;
        }
        self.push(MountKind::Bind { source: dir.path().to_owned() }, target, *readonly);
        self.prepared.guards.push(Guard::Cache { _dir: dir });
        Ok(())
    }

    fn secret(&mut self, mount: &Mount) -> Result<(), Cause> {
        let Mount::Secret { id, target, env, required, mode, uid, gid } = mount else { return Ok(()) };
        let Some(value) = self.session.secrets.secret(id)? else {
            return match required {
                true => Err(Cause::Invalid(format!("secret `{id}` is required and was not given"))),
                false => Ok(()),
            };
        };
        if value.len() > MAX_SECRET {
            return Err(Cause::Invalid(format!("secret `{id}` is larger than {MAX_SECRET} bytes")));
        }
        if let Some(name) = env {
            let text = String::from_utf8(value.clone());
            let text = text.map_err(|_| {
                Cause::Invalid(format!("secret `{id}` is not text, so it cannot be a variable"))
            })?;
            self.prepared.env.push(format!("{name}={text}"));
        }
        let target = match (target, env) {
            (Some(target), _) => target.clone(),
            (None, Some(_)) => return Ok(()),
            (None, None) => format!("{SECRETS}/{id}"),
        };
        let (fd, mount) = secret_file(&value, *mode, Owner { uid: *uid, gid: *gid })?;
        self.push(MountKind::Bind { source: fs::proc_path(&fd) }, &target, true);
        self.prepared.guards.push(Guard::Tree { _fd: fd, _mount: mount, _workspace: None, _view: None });
        Ok(())
    }

    fn ssh(&mut self, id: &str, target: &str, required: bool) -> Result<(), Cause> {
        match self.session.ssh.socket(id)? {
            Some(socket) => {
                self.push(MountKind::Bind { source: socket }, target, false);
                self.prepared.env.push(format!("SSH_AUTH_SOCK={target}"));
                Ok(())
            }
            None if required => {
                Err(Cause::Invalid(format!("ssh agent `{id}` is required and was not given")))
            }
            None => Ok(()),
        }
    }
}

/// A file in memory that never was on a disk, on a mount that nobody else sees.
fn secret_file(value: &[u8], mode: u32, owner: Owner) -> Result<(OwnedFd, Root), Cause> {
    let memory = kiln_sys::mount::Mount {
        source: PathBuf::from("tmpfs"),
        target: PathBuf::new(),
        fs_type: "tmpfs".to_owned(),
        flags: MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        data: vec![MountOption::value("mode", "0700")],
    };
    let root = Root::from_fd(memory.detached()?);
    let mut file = fs::create_file(root.as_fd(), "secret", 0o600)?;
    file.write_all(value).map_err(Cause::io("write a secret"))?;
    fs::fchown(file.as_fd(), owner)?;
    fs::fchmod(file.as_fd(), mode)?;
    Ok((root.resolve("secret", false)?, root))
}

/// `path` beneath a root, without a way out of it; `.` for the root itself.
pub fn relative(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean.as_os_str().is_empty() { PathBuf::from(".") } else { clean }
}

/// How much the process may do, in the runtime's words.
pub fn security(security: kiln_graph::Security) -> kiln_runtime::Security {
    let insecure = match security {
        kiln_graph::Security::Sandbox => false,
        kiln_graph::Security::Insecure => true,
    };
    kiln_runtime::Security { insecure, ..kiln_runtime::Security::default() }
}

/// `name=soft[:hard]` in the runtime's words.
pub fn rlimits(ulimits: &[String]) -> Result<Vec<Rlimit>, Cause> {
    ulimits
        .iter()
        .map(|text| rlimit(text).ok_or_else(|| Cause::Invalid(format!("`{text}` is not a ulimit"))))
        .collect()
}

fn rlimit(text: &str) -> Option<Rlimit> {
    let (name, limits) = text.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| if text == "-1" { Some(u64::MAX) } else { text.parse().ok() };
    Some(Rlimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(relative("/"), Path::new("."));
        assert_eq!(relative("/a/./b/../c"), Path::new("a/c"));
        assert_eq!(relative("../../etc"), Path::new("etc"));
    }

    #[test]
    fn ulimits_are_read_as_docker_writes_them() {
        let limit = rlimit("nofile=10:-1").unwrap();
        assert_eq!((limit.name.as_str(), limit.soft, limit.hard), ("nofile", 10, u64::MAX));
        assert!(rlimit("nofile").is_none() && rlimit("nofile=x").is_none());
    }
}
