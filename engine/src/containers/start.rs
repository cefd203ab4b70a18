//! Starting a container: a supervisor is made, and its report awaited.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::{Containers, Record, Records};
use crate::attach::{Attach, AttachOptions, Link};
use crate::supervisor::frame::Frame;
use crate::supervisor::read_failure;
use crate::{Engine, Error, Result};

/// This program, even if its file was replaced meanwhile.
pub(crate) const SELF: &str = "/proc/self/exe";
/// What a supervisor needs of our environment: where `nft` is.
const KEPT_ENVIRONMENT: &str = "PATH";

impl Containers<'_> {
    /// Starts a container. With `attach` its streams are connected before its program starts, so nothing is lost.
    pub fn start(&self, name: &str, attach: Option<&AttachOptions>) -> Result<Option<Attach>> {
        let record = Records::of(self.engine).find(name)?;
        if record.is_active() {
            return match attach {
                Some(options) => self.attach(name, options).map(Some),
                None => Ok(None),
            };
        }
        let link = supervise(self.engine, &record, attach)?;
        loop {
            match link.receive()? {
                Some(Frame::Started) => return Ok(attach.map(|_| link.into_attach())),
                Some(Frame::Failed(text)) => return Err(read_failure(&text)),
                Some(_) => {}
                None => return Err(died(&record)),
            }
        }
    }

    /// Connects to the streams of a running container.
    pub fn attach(&self, name: &str, options: &AttachOptions) -> Result<Attach> {
        let record = Records::of(self.engine).find(name)?;
        let link = connect(self.engine, &record)?;
        greet(&link, options)?;
        Ok(link.into_attach())
    }
}

/// A connection to a container's supervisor.
pub(crate) fn connect(engine: &Engine, record: &Record) -> Result<Arc<Link>> {
    let not_running = || Error::conflict(format!("the container `{}` is not running", record.container.name));
    if !record.is_active() {
        return Err(not_running());
    }
    Link::connect(&record.directory(engine.store().root())).map_err(|error| not_running().caused_by(error))
}

fn greet(link: &Link, options: &AttachOptions) -> Result<()> {
    if options.output {
        link.send(&Frame::Watch)?;
    }
    if let Some((rows, columns)) = options.size {
        link.send(&Frame::Resize(rows, columns))?;
    }
    Ok(())
}

fn supervise(engine: &Engine, record: &Record, attach: Option<&AttachOptions>) -> Result<Arc<Link>> {
    let failed = |error| Error::internal("start the container's supervisor", error);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let link = Link::new(ours);
    if let Some(options) = attach {
        // Said before the supervisor exists, so heard before the program starts.
        greet(&link, options)?;
    }
    let mut command = Command::new(SELF);
    command.arg0("kiln").arg("--root").arg(engine.store().root()).arg("supervise").arg(&record.container.id);
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == KEPT_ENVIRONMENT))
        .current_dir("/");
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(failed)?;
    Ok(link)
}

fn died(record: &Record) -> Error {
    Error::new(
        crate::ErrorKind::Internal,
        format!("the supervisor of the container `{}` ended without a report", record.container.name),
    )
}
