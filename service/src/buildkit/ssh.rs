//! `SSH`: the client's agents.

use std::io;
use std::sync::Arc;

use bollard_buildkit_proto::moby::sshforward::v1::ssh_client::SshClient;
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use kiln_engine::build::{SessionError, SshAgent, SshAgents};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::{Request, Status};

use super::secrets::PATIENCE;
use super::session::Session;

/// What a client must serve for this.
const METHOD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
/// By which name an agent is meant.
const ID: &str = "buildkit.ssh.id";
/// The longest answer of an agent, as in OpenSSH.
const MAX_ANSWER: usize = 256 << 10;
/// The bytes of a message's length before it.
const LENGTH: usize = 4;

/// The agents of a session. Asked on threads that may wait.
pub(super) struct SessionAgents {
    pub(super) session: Arc<Session>,
    pub(super) runtime: Handle,
}

impl SshAgents for SessionAgents {
    fn agent(&self, id: &str) -> Result<Option<Arc<dyn SshAgent>>, SessionError> {
        let failed = |reason: &str| {
            let what = format!("ask the client for the SSH agent `{id}`");
            SessionError { what, reason: reason.to_owned() }
        };
        let written = id.parse().map_err(|_| failed("its name is no word"))?;
        if !self.session.supports(METHOD) {
            return Ok(None);
        }
        let mut client = SshClient::new(self.session.channel());
        let request = CheckAgentRequest { id: id.to_owned() };
        let asked = self.runtime.block_on(async { timeout(PATIENCE, client.check_agent(request)).await });
        match asked.map_err(|_| failed("it does not answer"))? {
            Ok(_) => Ok(Some(Arc::new(Agent { session: self.session.clone(), id: written }))),
            // A client says only that it forwards none, in words of its own.
            Err(_) => Ok(None),
        }
    }
}

/// One agent. Each message has a stream of its own, as if a program had connected for it.
struct Agent {
    session: Arc<Session>,
    id: tonic::metadata::MetadataValue<tonic::metadata::Ascii>,
}

impl SshAgent for Agent {
    fn answer(&self, request: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the client's agent does not answer");
            timeout(PATIENCE, self.ask(request)).await.map_err(late)?
        })
    }
}

impl Agent {
    async fn ask(&self, request: Vec<u8>) -> io::Result<Vec<u8>> {
        let other = |status: Status| io::Error::other(status.message().to_owned());
        let length = u32::try_from(request.len()).map_err(io::Error::other)?;
        let data = [&length.to_be_bytes(), &request[..]].concat();
        // The stream stays open until the answer is there: its end would be the program hanging up.
        let message = stream::once(async { BytesMessage { data } }).chain(stream::pending());
        let mut request = Request::new(message);
        request.metadata_mut().insert(ID, self.id.clone());
        let mut client = SshClient::new(self.session.channel());
        let mut answers = client.forward_agent(request).await.map_err(other)?.into_inner();
        let mut bytes = Vec::new();
        while let Some(BytesMessage { data }) = answers.message().await.map_err(other)? {
            bytes.extend_from_slice(&data);
            if let Some((length, answer)) = bytes.split_first_chunk::<LENGTH>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > MAX_ANSWER {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the agent's answer is too long"));
                }
                if answer.len() >= length {
                    return Ok(answer[..length].to_vec());
                }
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
