//! The mounts of a step's process: its root, and what it asked to see beside it.

mod bind;
mod cache;
mod secret;
mod ssh;

use std::any::Any;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use kiln_graph::{ExecOp, Mount};
use kiln_runtime::{MountKind, Propagation, Rlimit, UserMount};
use kiln_sys::fs::Root;
use kiln_sys::mount::{MountFlags, MountOption};

pub use secret::{MAX_SECRET, variable};

use crate::error::Cause;
use crate::session::Session;
use crate::stores::Stores;
use crate::value::{Layers, Value};
use crate::workspace::Workspace;

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
type Guard = Box<dyn Any + Send + Sync>;

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
    let caches = preparing.take_caches(&op.mounts[1..])?;
    op.mounts[1..].iter().try_for_each(|mount| preparing.add(mount, &caches))?;
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
    fn add(&mut self, mount: &Mount, caches: &cache::Taken) -> Result<(), Cause> {
        match mount {
            Mount::Bind { output: Some(_), .. } => {
                Err(Cause::Unsupported("a second output of a process".to_owned()))
            }
            Mount::Bind { input, source, target, readonly, output: None } => {
                self.bind(*input, source, target, *readonly)
            }
            Mount::Tmpfs { target, readonly, size } => {
                self.push(MountKind::Tmpfs { size: *size, mode: None, exec: true }, target, *readonly);
                Ok(())
            }
            Mount::Cache { .. } => self.cache(mount, caches),
            Mount::Secret { .. } => self.secret(mount),
            Mount::Ssh { .. } => self.ssh(mount),
        }
    }

    fn push(&mut self, kind: MountKind, target: &str, readonly: bool) {
        let propagation = Propagation::Private;
        self.prepared.user_mounts.push(UserMount { kind, target: target.to_owned(), readonly, propagation });
    }

    /// An input, or the empty filesystem.
    fn value(&self, input: Option<u32>) -> Result<Value, Cause> {
        let Some(input) = input else { return Ok(Value::Layers(Layers::scratch())) };
        let missing = || Cause::Invalid(format!("input {input} is missing"));
        self.inputs.get(input as usize).cloned().ok_or_else(missing)
    }
}

/// The error of a mount whose source is not in `value`.
pub fn missing(source: &str, value: &Value) -> Cause {
    let Value::Files(files) = value else {
        let place = "the filesystem that the mount is from".to_owned();
        return Cause::NotFound { path: source.to_owned(), place, hint: None };
    };
    files.missing(source, &relative(source))
}

/// A filesystem in memory that nobody else sees.
fn memory(executable: bool) -> Result<Root, Cause> {
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    if !executable {
        flags |= MountFlags::NOEXEC;
    }
    let mount = kiln_sys::mount::Mount {
        source: PathBuf::from("tmpfs"),
        target: PathBuf::new(),
        fs_type: "tmpfs".to_owned(),
        flags,
        data: vec![MountOption::value("mode", "0700")],
    };
    Ok(Root::from_fd(mount.detached()?))
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
        .map(|text| {
            rlimit(text).ok_or_else(|| {
                Cause::Invalid(format!(
                    "`{text}` is not a ulimit: that is `NAME=SOFT[:HARD]`, as in `nofile=1024:2048`"
                ))
            })
        })
        .collect()
}

fn rlimit(text: &str) -> Option<Rlimit> {
    let (name, limits) = text.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| if text == "-1" { Some(u64::MAX) } else { text.parse().ok() };
    let (soft, hard) = (number(soft)?, number(hard)?);
    let is_known = kiln_runtime::plan::is_rlimit(name) && soft <= hard;
    is_known.then(|| Rlimit { name: name.to_owned(), soft, hard })
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
        for bad in ["nofile", "nofile=x", "nofile=2:1", "nofiles=1"] {
            assert!(rlimit(bad).is_none(), "{bad}");
        }
    }
}
