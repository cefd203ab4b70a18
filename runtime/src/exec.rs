//! One more process in a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_sys::child::{Handle, InitPlan, Namespaces, Step};
use kiln_sys::fs::Root;
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, SIGKILL};
use crate::error::{Preparing, Result};
use crate::launch::{Running, Stdio, explain, keep};
use crate::plan::{self, Program, user};
use crate::prepare::stdio::{Opened, open_plain, open_pty};
use crate::prepare::view::View;
use crate::prepare::{cgroup_procs, environment, program};
use crate::run_spec::{Process, Rlimit, Security};

const SIGSTOP: i32 = 19;

/// What another process must know of a running container to join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// The first process, as the host numbers it.
    pub pid: u32,
    /// The control group's directories ([`crate::cgroup::Cgroup::paths`]).
    pub cgroup_paths: Vec<PathBuf>,
    /// What its processes may do.
    pub security: Security,
    /// Resource limits of its processes.
    pub rlimits: Vec<Rlimit>,
}

/// Runs `process` in the container's namespaces and control group, with its restrictions.
///
/// The container's files are looked at through its own root, mounts included. Until the program is
/// executed, the new process shares this one's memory and is visible in the container; so this process
/// stops being dumpable, which keeps the container from tracing it or opening its files.
pub fn exec(target: &ContainerState, process: Process, stdio: Stdio) -> Result<Running> {
    kiln_sys::process::forbid_dumps().preparing(|| "protect this process".to_owned())?;
    let pid = target.pid;
    let pidfd = kiln_sys::process::pidfd_open(pid).preparing(|| format!("find process {pid}"))?;
    let pidfd = Arc::new(pidfd);
    let path = format!("/proc/{pid}/root");
    let root = Root::open(Path::new(&path)).preparing(|| "open the container's root".to_owned())?;
    let devices = matches!(stdio, Stdio::Pty { .. }).then(|| root.open_dir("dev/pts"));
    let view = View::new(root);
    let user = user::lookup(view.root(), &process.user, &process.groups)?;
    let env = environment(&process, &user.home);
    let name = process.args.first().map_or("", String::as_str);
    let program::Found { candidates, foreign } = program::find(&view, name, &env, &process.cwd)?;
    let io = open(stdio, devices)?;
    let mut steps = join(target, &pidfd)?;
    let program = Program { candidates: &candidates, env: &env, init: None };
    let security = (&target.security, target.rlimits.as_slice());
    plan::add_process(&mut steps, &process, security, &user.ids, io.handles, &program)?;
    let own = pidfd.try_clone().map_err(|e| crate::Error::Invalid(format!("duplicate a descriptor: {e}")))?;
    let launched = keep(InitPlan { namespaces: Namespaces::NONE, steps }, Some(own));
    let running = launched.map_err(|error| explain(error, &process.args, foreign))?;
    Ok(running.with_master(io.master))
}

/// Kills a process that [`exec`] added to the container `target` and what it started, as far as that did not make a session
/// of its own: a daemon that it left behind may be wanted.
pub fn kill_session(added: &Running, target: &ContainerState) -> Result<()> {
    // While it stands still it starts nothing more, and nobody else gets its number.
    added.kill(SIGSTOP)?;
    let killed = Cgroup::open(&target.cgroup_paths).and_then(|group| group.kill_followers(added.pid()));
    added.kill(SIGKILL)?;
    Ok(killed?)
}

fn open(stdio: Stdio, devices: Option<kiln_sys::Result<OwnedFd>>) -> Result<Opened> {
    match (stdio, devices) {
        (Stdio::Pty { size }, Some(devices)) => {
            let devices = devices.preparing(|| "open the container's `/dev/pts`".to_owned())?;
            open_pty(devices.as_fd(), size)
        }
        (other, _) => open_plain(other),
    }
}

/// Whether the process is in this one's network.
fn shares_network(pid: u32) -> bool {
    let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net")).ok();
    let own = of("thread-self");
    own.is_some() && own == of(&pid.to_string())
}

/// Joins the control group first, while its files are still in sight.
fn join(target: &ContainerState, pidfd: &Arc<OwnedFd>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if !target.cgroup_paths.is_empty() {
        let cgroup = Cgroup::open(&target.cgroup_paths)?;
        steps.extend(cgroup_procs(&cgroup)?.into_iter().map(Step::JoinCgroup));
    }
    let mut all =
        vec![Namespaces::MOUNT, Namespaces::IPC, Namespaces::UTS, Namespaces::NETWORK, Namespaces::CGROUP];
    if shares_network(target.pid) {
        // To join what one is in needs rights over it, which a user namespace has not over the machine's.
        all.retain(|namespace| *namespace != Namespaces::NETWORK);
    }
    let all = all.into_iter().fold(Namespaces::NONE, Namespaces::union);
    steps.push(Step::JoinNamespaces(Handle::new(Arc::clone(pidfd), "the container"), all));
    Ok(steps)
}
