//! From a run and what the parent resolved for it to the plan of its first process: pure.

mod mounts;
pub mod seccomp;
pub mod user;

use std::ffi::CString;

use kiln_sys::caps::{self, CapSet};
use kiln_sys::child::{Arguments, Exec, Handle, Ids, InitPlan, Namespaces, Step};

use crate::error::{Error, Result};
use crate::profile;
use crate::run_spec::{NetworkSetup, Process, Rlimit, RunSpec, Security};
pub(crate) use mounts::{INIT_FOLDER, TERMINALS, devpts_options};

/// What the parent looked up and opened for a run.
#[derive(Debug)]
pub struct Resolved {
    /// The root file system, detached.
    pub root: Handle,
    /// The prepared network namespace, where there is one.
    pub network: Option<Handle>,
    /// `cgroup.procs` files to join.
    pub cgroup_procs: Vec<Handle>,
    /// Control groups to show at `/sys/fs/cgroup`.
    pub cgroup_view: CgroupView,
    /// Standard input, output and error; `None` keeps the caller's.
    pub stdio: Option<[Handle; 3]>,
    /// A `devpts` instance that has a terminal already.
    pub devpts: Option<Handle>,
    /// User and groups.
    pub ids: Ids,
    /// Paths of the program, best first.
    pub candidates: Vec<String>,
    /// The complete environment.
    pub env: Vec<String>,
    /// More mounts of the root file system, then the files of `/etc`: tree and target.
    pub files: Vec<(Handle, String)>,
    /// A tree for each user mount that is a bind.
    pub trees: Vec<Option<UserTree>>,
    /// More device nodes: path, type and permissions, number.
    pub devices: Vec<(String, u32, u64)>,
    /// The host's, where no device node can be made.
    pub borrowed: Option<Borrowed>,
    /// Masked paths that exist on this kernel, and whether each is a directory.
    pub masked: Vec<(String, bool)>,
    /// Read-only paths that exist on this kernel.
    pub readonly: Vec<String>,
    /// Reaper: the files it consists of, and the arguments in front of the command.
    pub init: Option<InitProgram>,
}

impl Resolved {
    /// Stand-ins for a run that is only looked at: nothing is opened, no image and no host is asked.
    ///
    /// The program is taken as it is named, the user as far as it is a number, and every masked path
    /// as a file.
    pub fn preview(spec: &RunSpec) -> Self {
        let number = |text: &str| text.parse().unwrap_or(0);
        let (user, group) = spec.process.user.split_once(':').unwrap_or((&spec.process.user, ""));
        let (uid, gid) = (number(user), number(group));
        let stdio = ["stdin", "stdout", "stderr"].map(Handle::unopened);
        let unconfined = spec.security.is_unconfined();
        let list = |paths: &[&str]| paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let hidden = |paths: &[&str]| if unconfined { Vec::new() } else { list(paths) };
        Self {
            root: Handle::unopened("root"),
            network: matches!(spec.network, NetworkSetup::Namespace(_)).then(|| Handle::unopened("network")),
            cgroup_procs: vec![Handle::unopened("cgroup")],
            cgroup_view: CgroupView::Unified,
            stdio: Some(stdio),
            devpts: spec.process.tty.then(|| Handle::unopened("devpts")),
            ids: Ids { uid, gid, groups: vec![gid], keeps_groups: false },
            candidates: spec.process.args.iter().take(1).cloned().collect(),
            env: crate::prepare::environment(&spec.process, "/"),
            files: preview_files(spec),
            trees: spec.mounts.iter().map(|_| None).collect(),
            devices: Vec::new(),
            borrowed: None,
            masked: hidden(&profile::MASKED_PATHS).into_iter().map(|path| (path, false)).collect(),
            readonly: hidden(&profile::READONLY_PATHS),
            init: None,
        }
    }
}

fn preview_files(spec: &RunSpec) -> Vec<(Handle, String)> {
    let etc = &spec.etc;
    let files = [("resolv.conf", &etc.resolv_conf), ("hosts", &etc.hosts), ("hostname", &etc.hostname)];
    let set = files.into_iter().filter(|(_, source)| source.is_some());
    set.map(|(name, _)| (Handle::unopened("etc"), format!("/etc/{name}"))).collect()
}

/// The detached tree of a bind.
#[derive(Debug)]
pub struct UserTree {
    /// The tree.
    pub tree: Handle,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Of the host's `/dev` and `/sys` what a user namespace cannot have of its own.
#[derive(Debug)]
pub struct Borrowed {
    /// The devices of every container, in the order of [`profile::DEVICES`].
    pub devices: Vec<Handle>,
    /// `/proc`, where the container has none of its own.
    pub proc: Option<Handle>,
    /// `/sys`, read-only.
    pub sys: Handle,
    /// Whether the group of terminals exists.
    pub has_terminals: bool,
}

/// How `/sys/fs/cgroup` looks inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupView {
    /// Not at all.
    #[default]
    None,
    /// One hierarchy.
    Unified,
    /// A hierarchy for each controller list, as the kernel names them.
    Legacy(Vec<String>),
}

/// The files and arguments of the reaper.
#[derive(Debug)]
pub struct InitProgram {
    /// Files for the folder it lives in: tree and name.
    pub files: Vec<(Handle, String)>,
    /// Program and arguments in front of the command.
    pub args: Vec<String>,
}

/// The plan of a run.
pub fn of(spec: &RunSpec, resolved: Resolved) -> Result<InitPlan> {
    let mut steps: Vec<Step> = resolved.cgroup_procs.iter().cloned().map(Step::JoinCgroup).collect();
    steps.push(Step::Unshare(Namespaces::CGROUP));
    if let Some(network) = &resolved.network {
        steps.push(Step::JoinNamespaces(network.clone(), Namespaces::NETWORK));
    }
    steps.push(Step::Umask(0));
    steps.push(Step::PrivateMounts);
    steps.push(Step::EnterRoot(resolved.root.clone()));
    mounts::add(&mut steps, spec, &resolved)?;
    steps.push(Step::Hostname(c(&spec.hostname)?));
    add_network(&mut steps, spec);
    if spec.readonly_rootfs {
        steps.push(Step::ReadonlyRoot);
    }
    let program =
        Program { candidates: &resolved.candidates, env: &resolved.env, init: resolved.init.as_ref() };
    let security = (&spec.security, spec.rlimits.as_slice());
    add_process(&mut steps, &spec.process, security, &resolved.ids, resolved.stdio, &program)?;
    Ok(InitPlan { namespaces: namespaces(spec), steps })
}

/// What is executed at the end.
pub(crate) struct Program<'a> {
    pub(crate) candidates: &'a [String],
    pub(crate) env: &'a [String],
    pub(crate) init: Option<&'a InitProgram>,
}

/// The steps that a first process and an added one have in common: from standard input to the program.
pub(crate) fn add_process(
    steps: &mut Vec<Step>,
    process: &Process,
    (security, rlimits): (&Security, &[Rlimit]),
    ids: &Ids,
    stdio: Option<[Handle; 3]>,
    program: &Program<'_>,
) -> Result<()> {
    steps.push(Step::NewSession);
    if let Some(handles) = stdio {
        steps.push(Step::Stdio(handles));
    }
    if process.tty {
        steps.push(Step::ControllingTerminal);
    }
    for limit in rlimits {
        steps.push(rlimit(limit)?);
    }
    steps.push(Step::Umask(0o022));
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    steps.push(Step::WorkingDirectory(c(cwd)?));
    add_restrictions(steps, security, ids)?;
    steps.push(Step::DieWithParent);
    steps.push(Step::CloseDescriptors);
    steps.push(exec(&process.args, program)?);
    Ok(())
}

fn add_restrictions(steps: &mut Vec<Step>, security: &Security, ids: &Ids) -> Result<()> {
    let caps = profile::capabilities(security)?;
    if caps != CapSet::held() {
        steps.push(Step::Bounding(caps.0, caps::last()));
    }
    if security.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    if !security.is_unconfined() && !security.seccomp_unconfined {
        // Loaded while the process still may: without `no_new_privs` that takes a capability.
        steps.push(Step::Seccomp(seccomp::default_filter(caps)));
    }
    if security.insecure {
        steps.extend([Step::KeepCapabilities, Step::User(ids.clone()), Step::AmbientCapabilities(caps.0)]);
        return Ok(());
    }
    steps.push(Step::User(ids.clone()));
    // Another user than root has no capability, only the bounding set above.
    let own = if ids.uid == 0 { caps } else { CapSet::NONE };
    steps.push(Step::Capabilities(own.0));
    Ok(())
}

fn add_network(steps: &mut Vec<Step>, spec: &RunSpec) {
    // A prepared namespace has its loopback up already.
    if matches!(spec.network, NetworkSetup::None) {
        steps.push(Step::LoopbackUp);
    }
}

fn namespaces(spec: &RunSpec) -> Namespaces {
    let own = Namespaces::MOUNT.union(Namespaces::PID).union(Namespaces::IPC).union(Namespaces::UTS);
    match spec.network {
        NetworkSetup::None => own.union(Namespaces::NETWORK),
        NetworkSetup::Host | NetworkSetup::Namespace(_) => own,
    }
}

fn exec(args: &[String], program: &Program<'_>) -> Result<Step> {
    let mut argv: Vec<&String> = args.iter().collect();
    let mut candidates: Vec<&String> = program.candidates.iter().collect();
    if let Some(init) = program.init {
        candidates = init.args.first().into_iter().collect();
        argv = init.args.iter().chain(args).collect();
    }
    let strings = |list: Vec<&String>| list.into_iter().map(|s| c(s)).collect::<Result<Vec<_>>>();
    Ok(Step::Exec(Box::new(Exec {
        candidates: strings(candidates)?,
        args: Arguments::new(strings(argv)?),
        env: Arguments::new(strings(program.env.iter().collect())?),
    })))
}

/// `RLIMIT_*` by the names that `--ulimit` takes.
const RLIMITS: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// Whether there is a limit of this name.
pub fn is_rlimit(name: &str) -> bool {
    RLIMITS.iter().any(|(known, _)| *known == name)
}

fn rlimit(limit: &Rlimit) -> Result<Step> {
    let Some((_, resource)) = RLIMITS.iter().find(|(name, _)| *name == limit.name) else {
        return Err(Error::Invalid(format!("unknown ulimit `{}`", limit.name)));
    };
    if limit.soft > limit.hard {
        return Err(Error::Invalid(format!("ulimit `{}`: the soft limit is above the hard one", limit.name)));
    }
    Ok(Step::Rlimit { resource: *resource, soft: limit.soft, hard: limit.hard })
}

/// A C string; a zero byte inside is the caller's mistake.
pub(crate) fn c(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Invalid(format!("`{}` contains a zero byte", text.escape_debug())))
}
