//! Another process in a running container.

pub(crate) mod local;

use kiln_runtime::{ContainerState, Process, Security};

use crate::attach::Attach;
use crate::containers::{Containers, Record, Records, Status, connect, merge_env};
use crate::supervisor::frame::Frame;
use crate::supervisor::{read_failure, spec};
use crate::{Error, Result};
use local::Streams;

/// What `exec` runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=value`, after the container's.
    pub env: Vec<String>,
    /// `user[:group]`; `None` takes the container's.
    pub user: Option<String>,
    /// The working directory; `None` takes the container's.
    pub working_dir: Option<String>,
    /// Whether a terminal is allocated.
    pub tty: bool,
    /// Whether standard input is sent.
    pub open_stdin: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Do not wait for it: it outlives the caller.
    pub detach: bool,
    /// Size of the caller's terminal: `(rows, columns)`.
    pub size: Option<(u16, u16)>,
}

impl Containers<'_> {
    /// Starts another process in a running container; `None` if it is detached.
    pub fn exec(&self, name: &str, options: &ExecOptions) -> Result<Option<Attach>> {
        let record = Records::of(self.engine).find(name)?;
        let container = &record.container;
        match container.state.status {
            Status::Running => {}
            Status::Paused => {
                return Err(Error::conflict(format!("the container `{}` is paused", container.name))
                    .with_hint("`kiln unpause` lets it go on"));
            }
            _ => return Err(Error::conflict(format!("the container `{}` is not running", container.name))),
        }
        let process = process(&record, options);
        if options.detach {
            return self.exec_detached(&record, &process).map(|()| None);
        }
        let target = ContainerState {
            pid: container.state.pid.unwrap_or_default(),
            cgroup_paths: record.cgroup_paths.clone(),
            security: security(&record, options),
            rlimits: Vec::new(),
        };
        let streams = Streams { tty: options.tty, stdin: options.open_stdin, size: options.size };
        local::start(streams, |stdio| kiln_runtime::exec(&target, process, stdio)).map(Some)
    }

    /// The supervisor is the parent of what nobody waits for.
    fn exec_detached(&self, record: &Record, process: &Process) -> Result<()> {
        let link = connect(self.engine, record)?;
        let text = serde_json::to_vec(process).map_err(|error| Error::internal("write the exec", error))?;
        link.send(&Frame::Exec(text))?;
        loop {
            match link.receive()? {
                Some(Frame::Started) => return Ok(()),
                Some(Frame::Failed(text)) => return Err(read_failure(&text)),
                Some(Frame::Exited(_)) | None => {
                    return Err(Error::conflict(format!("the container `{}` ended", record.container.name)));
                }
                Some(_) => {}
            }
        }
    }
}

fn process(record: &Record, options: &ExecOptions) -> Process {
    let own = &record.container.options;
    Process {
        args: options.command.clone(),
        env: merge_env(&own.env, &options.env),
        cwd: options.working_dir.clone().or_else(|| own.working_dir.clone()).unwrap_or_default(),
        user: options.user.clone().or_else(|| own.user.clone()).unwrap_or_default(),
        groups: Vec::new(),
        tty: options.tty,
    }
}

fn security(record: &Record, options: &ExecOptions) -> Security {
    let own = spec::security(&record.container.options);
    Security { privileged: own.privileged || options.privileged, ..own }
}
