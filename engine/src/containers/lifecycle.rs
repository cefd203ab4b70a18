//! Stopping, killing, waiting, pausing and renaming.

use std::time::Duration;

use kiln_runtime::cgroup::Cgroup;

use super::create::name_taken;
use super::names::check;
use super::record::{Record, Records};
use super::start::connect;
use super::{Containers, Status, signal};
use crate::supervisor::frame::Frame;
use crate::{Error, ErrorKind, Result};

/// How long `stop` waits where the container does not say.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a killed container may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

impl Containers<'_> {
    /// Asks a container's program to end and kills it after `timeout` (the container's own where `None`). A container
    /// that does not run is fine.
    pub fn stop(&self, name: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<()> {
        let record = Records::of(self.engine).find(name)?;
        let options = &record.container.options;
        let asked = signal.or(options.stop_signal.as_deref()).map_or(Ok(signal::TERM), signal::parse)?;
        let timeout = timeout.or(options.stop_timeout).unwrap_or(STOP_TIMEOUT);
        self.end(&record, asked, timeout)
    }

    /// Stops and starts again.
    pub fn restart(&self, name: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<()> {
        self.stop(name, signal, timeout)?;
        self.start(name, None).map(drop)
    }

    /// Sends a signal, a name with or without `SIG` or a number.
    pub fn kill(&self, name: &str, signal: &str) -> Result<()> {
        let signal = signal::parse(signal)?;
        let record = Records::of(self.engine).find(name)?;
        let link = connect(self.engine, &record)?;
        if signal == signal::KILL {
            self.mark_stopped(&record)?;
            thaw(&record);
        }
        link.send(&Frame::Signal(signal))?;
        if signal == signal::KILL {
            link.ends_within(KILL_TIMEOUT)?;
        }
        Ok(())
    }

    /// Waits until the container does not run and gives its exit code.
    pub fn wait(&self, name: &str) -> Result<i32> {
        let records = Records::of(self.engine);
        let record = records.find(name)?;
        let ended = match connect(self.engine, &record) {
            Ok(link) => link.wait()?,
            Err(error) if error.kind == ErrorKind::Conflict => None,
            Err(error) => return Err(error),
        };
        match ended {
            Some(code) => Ok(code),
            None => Ok(records.find(&record.container.id)?.container.state.exit_code),
        }
    }

    /// Gives a container another name.
    pub fn rename(&self, name: &str, new: &str) -> Result<()> {
        check(new)?;
        let records = Records::of(self.engine);
        let record = records.find(name)?;
        records.rename(&record.container.id, new).map_err(|error| name_taken(new, error))
    }

    /// Freezes every process of a container.
    pub fn pause(&self, name: &str) -> Result<()> {
        self.freeze(name, Status::Running, Status::Paused, Cgroup::freeze)
    }

    /// Lets a frozen container go on.
    pub fn unpause(&self, name: &str) -> Result<()> {
        self.freeze(name, Status::Paused, Status::Running, Cgroup::thaw)
    }

    fn freeze(
        &self,
        name: &str,
        from: Status,
        to: Status,
        action: impl FnOnce(&Cgroup) -> kiln_runtime::cgroup::Result<()>,
    ) -> Result<()> {
        let records = Records::of(self.engine);
        let record = records.find(name)?;
        let status = record.container.state.status;
        if status != from {
            let name = &record.container.name;
            return Err(Error::conflict(format!(
                "the container `{name}` is {}, not {}",
                status.as_str(),
                from.as_str()
            )));
        }
        let failed = |error| Error::internal(format!("change the container `{name}`"), error);
        Cgroup::open(&record.cgroup_paths).and_then(|group| action(&group)).map_err(failed)?;
        records.update(&record.container.id, |record| record.container.state.status = to)
    }

    /// Sends `signal`, waits, kills, waits. Nobody starts it again.
    pub(super) fn end(&self, record: &Record, signal: i32, timeout: Duration) -> Result<()> {
        if !record.is_active() {
            return Ok(());
        }
        self.mark_stopped(record)?;
        let Ok(link) = connect(self.engine, record) else { return Ok(()) };
        thaw(record);
        // The supervisor may have ended meanwhile; then so has the container.
        let _ = link.send(&Frame::Signal(signal));
        if link.ends_within(timeout)? {
            return Ok(());
        }
        let _ = link.send(&Frame::Signal(signal::KILL));
        if link.ends_within(KILL_TIMEOUT)? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Internal,
            format!("the container `{}` does not end, though it was killed", record.container.name),
        ))
    }

    /// A container that is gone by now needs no mark.
    fn mark_stopped(&self, record: &Record) -> Result<()> {
        let marked = Records::of(self.engine).update(&record.container.id, |record| record.stopped = true);
        marked.or_else(|error| if error.kind == ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }
}

/// A frozen process does not hear signals.
fn thaw(record: &Record) {
    if record.container.state.status == Status::Paused {
        let _ = Cgroup::open(&record.cgroup_paths).and_then(|group| group.thaw());
    }
}
