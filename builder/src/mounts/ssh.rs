//! `RUN --mount=type=ssh`: a socket of the step's own that leads to an agent, and only to its keys and signatures.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener as BlockingListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kiln_graph::Mount;
use kiln_runtime::{MountKind, Tree};
use kiln_sys::fs::{self, Owner};
use kiln_sys::mount::clone_beneath;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use super::{Preparing, memory};
use crate::error::Cause;
use crate::ssh::{self, SshAgent};

/// The most connections at once.
const MAX_VISITORS: usize = 64;
/// How long to rest when no connection can be accepted, for want of descriptors.
const REST: Duration = Duration::from_millis(100);
/// The socket's name in its own filesystem.
const SOCKET: &str = "agent";

/// Serves one socket until it is dropped.
#[derive(Debug)]
pub(crate) struct Door(AbortHandle);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

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

/// Makes a socket at `path`, and answers there until the door is closed.
pub(crate) fn listen(path: &Path, agent: Arc<dyn SshAgent>) -> Result<Door, Cause> {
    let listener = BlockingListener::bind(path).map_err(Cause::io("make the SSH agent's socket"))?;
    listener.set_nonblocking(true).map_err(Cause::io("make the SSH agent's socket"))?;
    let runtime = Handle::current();
    let entered = runtime.enter();
    let listener = UnixListener::from_std(listener).map_err(Cause::io("serve the SSH agent's socket"))?;
    drop(entered);
    Ok(Door(runtime.spawn(serve(listener, agent)).abort_handle()))
}

async fn serve(listener: UnixListener, agent: Arc<dyn SshAgent>) {
    let mut visitors = JoinSet::new();
    loop {
        let is_full = visitors.len() >= MAX_VISITORS;
        tokio::select! {
            Some(_) = visitors.join_next() => {}
            accepted = listener.accept(), if !is_full => match accepted {
                Ok((visitor, _)) => drop(visitors.spawn(attend(visitor, agent.clone()))),
                Err(_) => tokio::time::sleep(REST).await,
            },
        }
    }
}

/// Answers one connection to its end.
async fn attend(mut visitor: UnixStream, agent: Arc<dyn SshAgent>) -> io::Result<()> {
    while let Some(request) = ssh::read_message(&mut visitor).await? {
        let answer = match ssh::is_harmless(&request) {
            true => agent.answer(request).await.unwrap_or_else(|_| ssh::FAILURE.to_vec()),
            false => ssh::FAILURE.to_vec(),
        };
        ssh::write_message(&mut visitor, &answer).await?;
    }
    Ok(())
}
