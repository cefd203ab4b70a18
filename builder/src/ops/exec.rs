//! The op that runs a process: `RUN`.

pub(crate) mod devices;
mod logs;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use kiln_graph::{ExecOp, Mount};
use kiln_oci::{Digest, Digester};
use kiln_runtime::{Cancel, ExitStatus, RunSpec, Stdio};
use kiln_snapshot::checksum::{self, ChecksumOptions};

use super::{Digests, Op};
use crate::container::Container;
use crate::error::Cause;
use crate::flight::Crowd;
use crate::mounts;
use crate::progress::{EventKind, LogStream, Reporter, Silent};
use crate::pull;
use crate::session::Session;
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::Value;
use crate::workspace::View;

/// How long the rest of a log may take once the process has ended and everything in its container is dead.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a step waits for a cache directory before it says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs a process.
#[derive(Debug)]
pub struct Exec {
    stores: Arc<Stores>,
    op: Arc<ExecOp>,
    digests: Digests,
}

impl Exec {
    /// The process of `op`.
    pub fn new(stores: Arc<Stores>, op: ExecOp, digests: Digests) -> Self {
        Exec { stores, op: Arc::new(op), digests }
    }

    /// The paths of input `input` that the process can see, if it sees no more and its changes to them are dropped.
    fn selected_paths(&self, input: usize) -> Option<Vec<String>> {
        let mut paths = Vec::new();
        for mount in
            self.op.mounts.iter().filter(|mount| mount.input().is_some_and(|it| it as usize == input))
        {
            match mount {
                Mount::Bind { source, output: None, target, .. } if target != "/" => {
                    paths.push(source.clone());
                }
                _ => return None,
            }
        }
        Some(paths)
    }
}

impl Op for Exec {
    fn definition(&self) -> Digest {
        self.digests.definition.clone()
    }

    fn content_definition(&self) -> Digest {
        self.digests.content.clone()
    }

    fn content<'a>(&'a self, input: usize, value: &'a Value) -> BoxFuture<'a, Result<Digest, Cause>> {
        Box::pin(async move {
            let paths = match (self.selected_paths(input), value) {
                (Some(paths), _) => paths,
                (None, Value::Files(_)) => vec!["/".to_owned()],
                (None, Value::Layers(layers)) => return Ok(layers.digest()),
            };
            if let Value::Layers(layers) = value {
                pull::unpack(&self.stores, layers, &Silent).await?;
            }
            let (stores, value) = (self.stores.clone(), value.clone());
            blocking(move || digest_of_paths(&stores, &value, &paths)).await
        })
    }

    fn run<'a>(&'a self, inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async move {
            for layers in inputs.iter().filter_map(Value::layers) {
                pull::unpack(&self.stores, layers, crowd).await?;
            }
            let Ready { container, stdio, output } = self.get_ready(inputs, crowd).await?;
            let status = self.execute(container.spec().clone(), stdio, output, crowd).await?;
            crowd.check()?;
            self.judge(status)?;
            let layers = blocking(move || container.commit());
            Ok(vec![Value::Layers(layers.await?)])
        })
    }
}

impl Exec {
    /// Gets the container ready; one that has to wait for a cache directory says so.
    async fn get_ready(&self, inputs: Vec<Value>, crowd: &Crowd) -> Result<Ready, Cause> {
        let (stores, op, cancel) = (self.stores.clone(), self.op.clone(), crowd.cancel().clone());
        let session = crowd.session().unwrap_or_else(Session::empty);
        let waits = Arc::new(AtomicBool::new(false));
        let waiting = waits.clone();
        let ready = blocking(move || {
            // Asked only by who waits.
            let cancelled = || {
                waiting.store(true, Ordering::Relaxed);
                cancel.is_cancelled()
            };
            Ready::new(&stores, &op, &inputs, &session, &cancelled)
        });
        tokio::pin!(ready);
        loop {
            match tokio::time::timeout(PATIENCE, &mut ready).await {
                Ok(ready) => return ready,
                Err(_) if waits.swap(false, Ordering::Relaxed) => break,
                Err(_) => {}
            }
        }
        let bytes = b"waiting for a cache mount that another step holds\n".to_vec();
        crowd.report(EventKind::Log { stream: LogStream::Stderr, bytes });
        ready.await
    }

    /// Runs the container to its end while its log is passed on.
    async fn execute(
        &self,
        spec: RunSpec,
        stdio: Stdio,
        output: Output,
        crowd: &Crowd,
    ) -> Result<ExitStatus, Cause> {
        let cancel = Cancel::default();
        let logs = async {
            tokio::join!(
                logs::pass_on(output.stdout, LogStream::Stdout, crowd),
                logs::pass_on(output.stderr, LogStream::Stderr, crowd)
            )
        };
        tokio::pin!(logs);
        let run = self.stores.executor.run(spec, stdio, cancel.clone());
        tokio::pin!(run);
        let mut drained = false;
        let status = loop {
            tokio::select! {
                biased;
                status = &mut run => break status?,
                () = crowd.cancel().cancelled(), if !cancel.is_cancelled() => cancel.cancel(),
                _ = &mut logs, if !drained => drained = true,
            }
        };
        if !drained {
            // Nothing in the container lives any more, so the pipes end; a descriptor that leaked must not hold us.
            drop(tokio::time::timeout(DRAIN, logs).await);
        }
        Ok(status)
    }

    fn judge(&self, status: ExitStatus) -> Result<(), Cause> {
        let valid = &self.op.valid_exit_codes;
        let succeeded = if valid.is_empty() { status.code == 0 } else { valid.contains(&status.code) };
        if succeeded {
            return Ok(());
        }
        let command = self.op.args.join(" ");
        Err(Cause::Exit { command, code: status.code, oom_killed: status.oom_killed })
    }
}

/// The reading ends of a process's outputs.
struct Output {
    stdout: std::io::PipeReader,
    stderr: std::io::PipeReader,
}

/// A container that can be started, with the other ends of its outputs.
struct Ready {
    container: Container,
    stdio: Stdio,
    output: Output,
}

impl Ready {
    fn new(
        stores: &Arc<Stores>,
        op: &ExecOp,
        inputs: &[Value],
        session: &Session,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Ready, Cause> {
        let container = Container::new(stores, op, inputs, session, cancelled)?;
        let pipe = || std::io::pipe().map_err(Cause::io("make a pipe for the log"));
        let ((stdout, out), (stderr, err)) = (pipe()?, pipe()?);
        let null = File::open("/dev/null").map_err(Cause::io("open `/dev/null`"))?;
        let stdio = Stdio::Fds { stdin: null.into(), stdout: out.into(), stderr: err.into() };
        Ok(Ready { container, stdio, output: Output { stdout, stderr } })
    }
}

fn digest_of_paths(stores: &Stores, value: &Value, paths: &[String]) -> Result<Digest, Cause> {
    let mut all = Digester::sha256();
    for path in paths {
        let relative = mounts::relative(path);
        let digest = match value {
            Value::Files(files) if !files.shows(&relative) => None,
            Value::Files(files) => {
                let beneath = files.beneath(&relative);
                let options = ChecksumOptions {
                    filter: Some(&beneath),
                    owner: Some((0, 0)),
                    memo: files.memo(),
                    as_link: false,
                };
                checksum::checksum(&files.root, &relative, &options)?
            }
            Value::Layers(layers) => {
                let view = View::of(&stores.store, layers)?;
                checksum::checksum(&view.root()?, &relative, &ChecksumOptions::default())?
            }
        };
        all.update(digest.ok_or_else(|| mounts::missing(path, value))?.as_str().as_bytes());
    }
    Ok(all.finish())
}
