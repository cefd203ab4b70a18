//! Starting a container: a supervisor is made, and its report awaited.

use std::sync::Arc;

use super::standby::wishes;
use super::{Containers, Record, Records, Standby};
use crate::attach::{Attach, AttachOptions, Link};
use crate::supervisor::frame::Frame;
use crate::supervisor::read_failure;
use crate::{Engine, Error, Result};

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
        let standby = Standby::of(self.engine.store().root(), &record.container.id)?;
        run(standby, &record.container.name, attach)
    }

    /// Starts the container that was made for `standby`, as [`Containers::start`] does.
    pub fn start_on(&self, standby: Standby, attach: Option<&AttachOptions>) -> Result<Option<Attach>> {
        let id = standby.id().to_owned();
        run(standby, &id, attach)
    }

    /// Connects to the streams of a running container.
    pub fn attach(&self, name: &str, options: &AttachOptions) -> Result<Attach> {
        let record = Records::of(self.engine).find(name)?;
        let link = connect(self.engine, &record)?;
        link.send_all(wishes(options))?;
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

/// Has the supervisor run its container, and waits until the program runs.
fn run(standby: Standby, name: &str, attach: Option<&AttachOptions>) -> Result<Option<Attach>> {
    let link = standby.begin(attach);
    loop {
        match link.receive()? {
            Some(Frame::Started) => return Ok(attach.map(|_| link.into_attach())),
            Some(Frame::Failed(text)) => return Err(read_failure(&text)),
            Some(_) => {}
            None => return Err(died(name)),
        }
    }
}

fn died(name: &str) -> Error {
    let message = format!("the supervisor of the container `{name}` ended without a report");
    Error::new(crate::ErrorKind::Internal, message)
}
