//! Asks a running container's program whether it is well, from time to time, by another process in the container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use kiln_runtime::{ContainerState, Process, Running, Stdio, exec, kill_session};
use kiln_sys::process::poll_readable;

use super::spec;
use crate::containers::{Health, HealthResult, HealthStatus, Healthcheck, Record, Records, Status, now};
use crate::{Engine, Error, Result};

/// The most bytes of a check's output that are kept.
const MAX_OUTPUT: usize = 4096;

/// Who asks in one run of a container's program.
pub(super) struct Probe<'a> {
    engine: &'a Engine,
    id: String,
    check: Healthcheck,
    target: ContainerState,
    process: Process,
    started: Instant,
}

impl<'a> Probe<'a> {
    /// The one that the container wants, if it does.
    pub(super) fn of(engine: &'a Engine, record: &Record, running: &Running) -> Option<Probe<'a>> {
        let check = record.container.options.health.clone()?;
        let args = check.command(&record.shell)?;
        let target = ContainerState {
            pid: running.pid(),
            cgroup_paths: running.cgroup().map(|group| group.paths().to_vec()).unwrap_or_default(),
            security: spec::security(&record.container.options),
            rlimits: Vec::new(),
        };
        let process = Process { args, tty: false, ..spec::process(record) };
        let id = record.container.id.clone();
        Some(Probe { engine, id, check, target, process, started: Instant::now() })
    }

    /// Asks until the other end of `stop` is dropped. The container's end ends a check that runs.
    pub(super) fn run(&self, stop: &Receiver<()>) {
        let mut status = HealthStatus::Starting;
        loop {
            let pause = self.check.pause(status, self.started.elapsed());
            if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            // A database that cannot be written now may be next time.
            status = self.ask_and_record().ok().flatten().unwrap_or(status);
        }
    }

    /// One check; the status that it comes to, or nothing where the container stands still or is gone.
    fn ask_and_record(&self) -> Result<Option<HealthStatus>> {
        let records = Records::of(self.engine);
        let is_running = |record: &Record| record.container.state.status == Status::Running;
        if !records.get(&self.id)?.is_some_and(|record| is_running(&record)) {
            return Ok(None);
        }
        let age = self.started.elapsed();
        let result = self.ask();
        let mut status = None;
        records.update(&self.id, |record| {
            // A container that was frozen meanwhile did not answer, and is not to blame.
            if is_running(record) {
                let health = record.container.state.health.get_or_insert_with(Health::default);
                health.add(result, &self.check, age);
                status = Some(health.status);
            }
        })?;
        Ok(status)
    }

    fn ask(&self) -> HealthResult {
        let start = now();
        let (exit_code, output) = self.execute().unwrap_or_else(|error| (-1, error.chain().into_bytes()));
        HealthResult { start, end: now(), exit_code, output: String::from_utf8_lossy(&output).into_owned() }
    }

    fn execute(&self) -> Result<(i32, Vec<u8>)> {
        let failed = |error: io::Error| Error::internal("make a pipe", error);
        let (output, writer) = io::pipe().map_err(failed)?;
        let (stdout, stderr) = (writer.try_clone().map_err(failed)?, writer);
        let stdin = kiln_sys::fd::open_null().map_err(|error| Error::internal("open `/dev/null`", error))?;
        let stdio = Stdio::Fds { stdin, stdout: stdout.into(), stderr: stderr.into() };
        let mut running = exec(&self.target, self.process.clone(), stdio)?;
        let timeout = self.check.timeout();
        let (ended, said) = listen(&running, &mut File::from(OwnedFd::from(output)), timeout)?;
        if ended {
            return Ok((running.wait()?.code, said));
        }
        kill_session(&running, &self.target)?;
        running.wait()?;
        let mut text = format!("the check took longer than {timeout:?}: ").into_bytes();
        text.extend(said);
        text.truncate(MAX_OUTPUT);
        Ok((-1, text))
    }
}

/// Whether the process ended within `timeout`, and the beginning of what it wrote. What others write that it left behind
/// is not waited for.
fn listen(running: &Running, output: &mut File, timeout: Duration) -> Result<(bool, Vec<u8>)> {
    let deadline = Instant::now() + timeout;
    let (mut said, mut is_open) = (Vec::new(), true);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok((false, said));
        }
        let fds = [running.pidfd(), output.as_fd()];
        let watched = if is_open { &fds[..] } else { &fds[..1] };
        let ready =
            poll_readable(watched, Some(left)).map_err(|error| Error::internal("wait for a check", error))?;
        let has_ended = ready[0];
        if is_open && ready[1] && !(has_ended && said.len() == MAX_OUTPUT) {
            is_open = keep(output, &mut said);
        } else if has_ended {
            return Ok((true, said));
        }
    }
}

/// Reads once and keeps what there is room for; whether more may come.
fn keep(output: &mut File, said: &mut Vec<u8>) -> bool {
    let mut bytes = [0; MAX_OUTPUT];
    match output.read(&mut bytes) {
        Ok(0) => false,
        Ok(count) => {
            let room = MAX_OUTPUT - said.len();
            said.extend_from_slice(&bytes[..count.min(room)]);
            true
        }
        Err(error) => error.kind() == io::ErrorKind::Interrupted,
    }
}
