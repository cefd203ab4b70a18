//! A socket that leads to an agent, and only to its keys and signatures.

use std::io;
use std::os::unix::net::UnixListener as BlockingListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use super::{FAILURE, SshAgent, is_harmless, read_message, write_message};
use crate::error::Cause;

/// The most connections at once.
const MAX_VISITORS: usize = 64;
/// How long to rest when no connection can be accepted, for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// Serves one socket until it is dropped.
#[derive(Debug)]
pub(crate) struct Door(AbortHandle);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes a socket at `path`, and answers there until the door is closed. Called within a tokio runtime.
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
    while let Some(request) = read_message(&mut visitor).await? {
        let answer = match is_harmless(&request) {
            true => agent.answer(request).await.unwrap_or_else(|_| FAILURE.to_vec()),
            false => FAILURE.to_vec(),
        };
        write_message(&mut visitor, &answer).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::super::{IDENTITIES_ANSWER, REQUEST_IDENTITIES, SIGN_REQUEST, SocketAgent};
    use super::*;

    /// Has no keys, and fails when asked to sign.
    struct Empty;

    impl SshAgent for Empty {
        fn answer(&self, request: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
            let answer = match request.as_slice() {
                [REQUEST_IDENTITIES] => Ok(vec![IDENTITIES_ANSWER, 0, 0, 0, 0]),
                _ => Err(io::ErrorKind::PermissionDenied.into()),
            };
            Box::pin(std::future::ready(answer))
        }
    }

    #[tokio::test]
    async fn an_agent_behind_a_socket_is_asked_through_another() {
        let dir = tempfile::tempdir().unwrap();
        let (agent, own) = (dir.path().join("agent"), dir.path().join("own"));
        let upstream = listen(&agent, Arc::new(Empty)).unwrap();
        let door = listen(&own, Arc::new(SocketAgent(agent))).unwrap();
        let mut visitor = UnixStream::connect(&own).await.unwrap();
        let mut ask = async |request: &[u8]| {
            write_message(&mut visitor, request).await.unwrap();
            read_message(&mut visitor).await.unwrap()
        };
        let identities = Some(vec![IDENTITIES_ANSWER, 0, 0, 0, 0]);
        assert_eq!(ask(&[REQUEST_IDENTITIES]).await, identities);
        for refused in [vec![SIGN_REQUEST, 1], vec![17], vec![19], vec![22], vec![]] {
            assert_eq!(ask(&refused).await, Some(FAILURE.to_vec()), "{refused:?}");
        }
        assert_eq!(ask(&[REQUEST_IDENTITIES]).await, identities);
        drop(upstream);
        drop(door);
        assert_eq!(read_message(&mut visitor).await.unwrap_or(None), None);
        assert!(UnixStream::connect(&own).await.is_err());
    }
}
