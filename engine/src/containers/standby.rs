//! A supervisor that gets ready while its container is still being made.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use super::new_id;
use crate::attach::{AttachOptions, Link};
use crate::errand::{self, Errand};
use crate::supervisor::frame::Frame;
use crate::{Error, Result};

/// What a supervisor needs of our environment: where `nft` is.
const KEPT_ENVIRONMENT: &str = "PATH";

/// The supervisor of a container that may not exist yet. Starting a process takes as long as making a container, so
/// `kiln run` does both at the same time. One that is dropped before it was told to begin ends by itself.
#[derive(Debug)]
pub struct Standby {
    id: String,
    link: Arc<Link>,
}

impl Standby {
    /// Starts the supervisor of a container that is to be made in the state root `root`, under a new id.
    pub fn start(root: &Path) -> Result<Standby> {
        let root = std::path::absolute(root).map_err(failed)?;
        Standby::of(&root, &new_id()?)
    }

    /// Starts the supervisor of the container `id`.
    pub(super) fn of(root: &Path, id: &str) -> Result<Standby> {
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Errand::Supervise { root: root.to_owned(), id: id.to_owned() }.command();
        command.envs(std::env::vars_os().filter(|(name, _)| name == KEPT_ENVIRONMENT));
        errand::spawn(command.stdin(Stdio::from(OwnedFd::from(theirs)))).map_err(failed)?;
        Ok(Standby { id: id.to_owned(), link: Link::new(ours) })
    }

    /// The id that the container must get.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The container is there: its supervisor runs it. What `attach` asks for is known before the program starts, so
    /// nothing is lost.
    pub(super) fn begin(self, attach: Option<&AttachOptions>) -> Arc<Link> {
        let frames = std::iter::once(Frame::Begin).chain(attach.into_iter().flat_map(wishes));
        // One that is dead already may have left the reason, which is read next.
        let _ = self.link.send_all(frames);
        self.link
    }
}

/// What a new client tells first.
pub(super) fn wishes(options: &AttachOptions) -> impl Iterator<Item = Frame> {
    let size = options.size.map(|(rows, columns)| Frame::Resize(rows, columns));
    options.output.then_some(Frame::Watch).into_iter().chain(size)
}

fn failed(error: std::io::Error) -> Error {
    Error::internal("start the container's supervisor", error)
}
