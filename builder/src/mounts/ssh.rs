//! `RUN --mount=type=ssh`: a socket of the step's own that leads to an agent, and only to its keys and signatures.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use kiln_graph::Mount;
use kiln_runtime::{MountKind, Tree};
use kiln_sys::fs::{self, Owner};
use kiln_sys::mount::clone_beneath;

use super::{Preparing, memory};
use crate::error::Cause;
use crate::ssh::{Door, SshAgent, listen};

/// The socket's name in its own filesystem.
const SOCKET: &str = "agent";

impl Preparing<'_> {
    pub(super) fn ssh(&mut self, mount: &Mount) -> Result<(), Cause> {
        let Mount::Ssh { id, target, required, mode, uid, gid } = mount else { return Ok(()) };
        let Some(agent) = self.session.ssh.agent(id)? else {
            return if *required { Err(not_given(id)) } else { Ok(()) };
        };
        let (tree, door) = open(agent, *mode, Owner { uid: *uid, gid: *gid })?;
        self.push(MountKind::Tree(Tree(Arc::new(tree))), target, false);
        self.prepared.guards.push(Box::new(door));
        Ok(())
    }
}

fn not_given(id: &str) -> Cause {
    Cause::NotGiven {
        what: format!("the SSH agent `{id}` is required and was not given"),
        hint: format!("`--ssh {id}` forwards yours, `--ssh {id}=KEY` a key"),
    }
}

/// A socket in memory, as a mount that nobody else sees, and who answers there.
fn open(agent: Arc<dyn SshAgent>, mode: u32, owner: Owner) -> Result<(OwnedFd, Door), Cause> {
    let root = memory(false)?;
    let path = fs::proc_path(&root.as_fd()).join(SOCKET);
    let door = listen(&path, agent)?;
    fs::chownat(root.as_fd(), SOCKET, owner)?;
    fs::chmodat(root.as_fd(), SOCKET, mode & 0o777)?;
    Ok((clone_beneath(&root, Path::new(SOCKET))?, door))
}
