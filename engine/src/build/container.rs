//! Containers in which whoever asked for a build works while it goes on: over results of it, with its entitlements.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use kiln_builder::container::Container;
use kiln_builder::session::Session;
use kiln_builder::{Entitlements, Value, mounts};
use kiln_graph::{ExecOp, Security};
use kiln_runtime::{ContainerState, Process, RunSpec, Running, launch::Killer};

use super::{BuildRequest, Prepared, failure};
use crate::attach::{Attach, AttachExit};
use crate::exec::local::{self, Streams};
use crate::progress::ProgressSink;
use crate::{CancellationToken, Engine, Error, Result};

const SIGKILL: i32 = 9;

/// A container of a build. Everything in it is killed when this is dropped, and what it was made of is removed when nothing
/// runs any more and nobody holds a connection to one of its processes.
pub struct BuildContainer {
    body: Arc<Body>,
    processes: Arc<Processes>,
    /// What its processes have in common.
    op: ExecOp,
    allow: Entitlements,
    session: Session,
    engine: Engine,
}

/// What must live as long as a process.
struct Body {
    container: Container,
    life: Mutex<Life>,
}

/// How many processes run.
#[derive(Debug, Default)]
struct Processes {
    count: Mutex<usize>,
    ended: Condvar,
}

/// Where a container is in its life.
enum Life {
    New,
    Runs(ContainerState, Killer),
    /// It was ended, or could not be started.
    Over,
}

/// A process of such a container.
#[derive(Clone, Debug, Default)]
pub struct BuildProcess {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Variables that secrets become.
    pub secrets: Vec<SecretVariable>,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// The working directory; empty is `/`.
    pub cwd: String,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether standard input is sent, where there is no terminal.
    pub stdin: bool,
    /// Whether it may do everything that root may.
    pub insecure: bool,
}

/// A variable that a secret becomes.
#[derive(Clone, Debug, Default)]
pub struct SecretVariable {
    /// Its name.
    pub name: String,
    /// The secret's.
    pub id: String,
    /// Whether it is an error that there is no such secret.
    pub required: bool,
}

impl Engine {
    /// Gets a container ready that sees what `op` mounts, inputs being `results`: builds and the numbers of their targets.
    pub async fn build_container(
        &self,
        op: ExecOp,
        results: &[(Arc<Prepared>, usize)],
        request: &BuildRequest,
        progress: Arc<dyn ProgressSink>,
        cancel: CancellationToken,
    ) -> Result<BuildContainer> {
        let failed = |cause| failure::of_cause(&cause);
        let stores = self.builder().stores().clone();
        request.allow.check_exec(&op, &stores.cdi_dirs).map_err(failed)?;
        let mut inputs = Vec::with_capacity(results.len());
        for (prepared, number) in results {
            let (progress, cancel) = (progress.clone(), cancel.clone());
            inputs
                .push(Value::Layers(self.built_layers(prepared, *number, request, progress, cancel).await?));
        }
        let session = super::session(request)?;
        let (asked, session_of_mounts) = (op.clone(), session.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let is_over = || cancel.is_cancelled();
            Container::new(&stores, &asked, &inputs, &session_of_mounts, &is_over).map_err(failed)
        });
        let container = opened.await.map_err(|error| Error::internal("get a container ready", error))??;
        Ok(BuildContainer {
            body: Arc::new(Body { container, life: Mutex::new(Life::New) }),
            processes: Arc::default(),
            op,
            allow: request.allow.clone(),
            session,
            engine: self.clone(),
        })
    }
}

impl BuildContainer {
    /// Starts a process: the first is the container's own, with whose end everything in it ends, the others join it.
    /// Blocking.
    pub fn start(&self, process: &BuildProcess) -> Result<Attach> {
        let security = if process.insecure { Security::Insecure } else { Security::Sandbox };
        let op = ExecOp { security, ..self.op.clone() };
        let builder = self.engine.builder();
        self.allow.check_exec(&op, &builder.stores().cdi_dirs).map_err(|cause| failure::of_cause(&cause))?;
        let wanted = self.process(process)?;
        let streams = Streams { tty: process.tty, stdin: process.stdin, size: None };
        let security = mounts::security(security);
        let mut life = self.body.life();
        let attach = match &*life {
            Life::Over => return Err(Error::conflict("the container has ended")),
            Life::New => {
                let spec = RunSpec { process: wanted, security, ..self.body.container.spec().clone() };
                // Its mounts cannot be used again.
                *life = Life::Over;
                let mut begun = None;
                let attach = local::start(streams, |stdio| {
                    let running = kiln_runtime::start(spec.clone(), stdio)?;
                    begun = Some((state(&running, &spec), running.killer()));
                    Ok(running)
                })?;
                if let Some((state, killer)) = begun {
                    *life = Life::Runs(state, killer);
                }
                attach
            }
            Life::Runs(state, _) => {
                let target = ContainerState { security, ..state.clone() };
                local::start(streams, |stdio| kiln_runtime::exec(&target, wanted, stdio))?
            }
        };
        *self.processes.count() += 1;
        let Attach { input, output, exit } = attach;
        let (body, processes) = (Some(self.body.clone()), self.processes.clone());
        Ok(Attach { input, output, exit: Box::new(Held { exit: Some(exit), body, processes }) })
    }

    fn process(&self, process: &BuildProcess) -> Result<Process> {
        let mut env = process.env.clone();
        for SecretVariable { name, id, required } in &process.secrets {
            let variable = mounts::variable(&self.session, id, name, *required);
            env.extend(variable.map_err(|cause| failure::of_cause(&cause))?);
        }
        // What the container's own mounts bring.
        env.extend(self.body.container.spec().process.env.iter().cloned());
        Ok(Process {
            args: process.args.clone(),
            env,
            cwd: process.cwd.clone(),
            user: process.user.clone(),
            groups: Vec::new(),
            tty: process.tty,
        })
    }

    /// Kills everything in it and waits for that. Blocking.
    pub fn end(self) {
        self.kill();
        let mut count = self.processes.count();
        while *count > 0 {
            count = self.processes.ended.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn kill(&self) {
        if let Life::Runs(_, killer) = std::mem::replace(&mut *self.body.life(), Life::Over) {
            // One that has ended is what is wanted.
            let _ = killer.kill(SIGKILL);
        }
    }
}

impl Drop for BuildContainer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl std::fmt::Debug for BuildContainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildContainer").field("container", &self.body.container).finish_non_exhaustive()
    }
}

impl Body {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Processes {
    fn count(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What another process must know to join this one.
fn state(running: &Running, spec: &RunSpec) -> ContainerState {
    ContainerState {
        pid: running.pid(),
        cgroup_paths: running.cgroup().map(|cgroup| cgroup.paths().to_vec()).unwrap_or_default(),
        security: spec.security.clone(),
        rlimits: spec.rlimits.clone(),
    }
}

/// The end of a process, which holds its container until then.
struct Held {
    exit: Option<Box<dyn AttachExit>>,
    body: Option<Arc<Body>>,
    processes: Arc<Processes>,
}

impl AttachExit for Held {
    fn wait(&mut self) -> Result<i32> {
        match &mut self.exit {
            Some(exit) => exit.wait(),
            None => Err(Error::conflict("the process has ended")),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Ends the process, where it did not.
        drop(self.exit.take());
        drop(self.body.take());
        *self.processes.count() -= 1;
        self.processes.ended.notify_all();
    }
}
