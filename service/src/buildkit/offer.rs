//! What a build's client offers it, as the engine's traits: contexts, secrets, agents, credentials.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::moby::upload::v1::BytesMessage;
use bollard_buildkit_proto::moby::upload::v1::upload_client::UploadClient;
use futures_util::stream;
use kiln_engine::build::received::Received;
use kiln_engine::build::{ContextSource, Input, Outside, SessionError, Wanted};
use kiln_engine::oci::Digest;
use kiln_engine::{CancellationToken, Engine, Error, Result};
use tokio::runtime::Handle;
use tonic::{Request, Status, Streaming};

use super::auth::SessionCredentials;
use super::secrets::SessionSecrets;
use super::session::Session;
use super::ssh::SessionAgents;
use super::{content, filesync};

/// What the client of one build offers.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) session: Arc<Session>,
    contexts: Arc<SessionContexts>,
}

impl Offer {
    /// What `session` offers to a build that `engine` does and `cancel` gives up.
    pub(super) fn new(engine: &Engine, session: Arc<Session>, cancel: CancellationToken) -> Offer {
        let contexts = SessionContexts {
            engine: engine.clone(),
            session: session.clone(),
            runtime: Handle::current(),
            cancel,
            received: Mutex::default(),
        };
        Offer { session, contexts: Arc::new(contexts) }
    }

    /// For the engine.
    pub(super) fn outside(&self) -> Outside {
        let (session, runtime) = (self.session.clone(), Handle::current());
        Outside {
            contexts: Some(self.contexts.clone()),
            dockerfile: None,
            policy: None,
            inputs: BTreeMap::new(),
            secrets: Some(Arc::new(SessionSecrets { session: session.clone(), runtime: runtime.clone() })),
            ssh: Some(Arc::new(SessionAgents { session, runtime })),
        }
    }

    /// `engine` with the client's credentials.
    pub(super) fn engine(&self, engine: &Engine) -> Engine {
        let (session, runtime) = (self.session.clone(), Handle::current());
        engine.with_credentials(Arc::new(SessionCredentials { session, runtime }))
    }

    /// What the client sends at `path` of its own.
    pub(super) async fn upload(&self, host: &str, path: &str) -> Result<Input> {
        let failed =
            |status: &Status| Error::invalid(format!("read the client's stream: {}", status.message()));
        let word = |text: &str| text.parse().map_err(|_| Error::invalid("the client's stream has no name"));
        let mut request = Request::new(stream::pending::<BytesMessage>());
        request.metadata_mut().insert("urlhost", word(host)?);
        request.metadata_mut().insert("urlpath", word(path)?);
        let (session, cancel) = (self.session.clone(), self.contexts.cancel.clone());
        let mut client = UploadClient::new(session.channel());
        let answers = tokio::select! {
            answers = client.pull(request) => answers,
            why = session.gone(&cancel) => Err(Status::cancelled(why)),
        };
        let answers = answers.map_err(|status| failed(&status))?.into_inner();
        let runtime = Handle::current();
        Ok(Input::new(Reader { answers, rest: Vec::new(), at: 0, session, cancel, runtime }))
    }
}

/// Whoever has no session offers nothing, and gets nothing of this machine either.
pub(super) struct Nobody;

impl Nobody {
    pub(super) fn outside() -> Outside {
        Outside { contexts: Some(Arc::new(Nobody)), ..Outside::default() }
    }
}

impl ContextSource for Nobody {
    fn directory(&self, name: &str) -> std::result::Result<PathBuf, SessionError> {
        let reason = "the client has no session".to_owned();
        Err(SessionError { what: format!("local context `{name}`"), reason })
    }
}

/// The folders of a session, each brought here when somebody wants files of it, and once.
struct SessionContexts {
    engine: Engine,
    session: Arc<Session>,
    runtime: Handle,
    cancel: CancellationToken,
    received: Mutex<HashMap<Wanted, Arc<Mutex<Option<Received>>>>>,
}

impl SessionContexts {
    /// The folder that has the files of the last time. A client that does not say which folders are the same gets an
    /// empty one each time: others' folders of the same name are not its own.
    fn folder(&self, wanted: &Wanted) -> Result<Received> {
        let key = &self.session.described().shared_key;
        let Wanted { name, purpose, .. } = wanted;
        match key.is_empty() {
            false => self.engine.received(&format!("{key}\0{name}\0{purpose}")),
            true => self.engine.received_once(),
        }
    }

    fn slot(&self, wanted: &Wanted) -> Arc<Mutex<Option<Received>>> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.entry(wanted.clone()).or_default().clone()
    }

    fn bring(&self, wanted: &Wanted) -> Result<PathBuf> {
        let slot = self.slot(wanted);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(received) = &*slot {
            return Ok(received.path().to_owned());
        }
        let received = self.folder(wanted)?;
        self.runtime.block_on(filesync::receive(&self.session, wanted, &received, &self.cancel))?;
        let path = received.path().to_owned();
        *slot = Some(received);
        Ok(path)
    }

    fn bring_layout(&self, store: &str, digest: &Digest) -> Result<PathBuf> {
        let wanted = Wanted { name: format!("{store}@{digest}"), purpose: "layout", ..Wanted::default() };
        let slot = self.slot(&wanted);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(received) = &*slot {
            return Ok(received.path().to_owned());
        }
        let received = self.folder(&wanted)?;
        let path = received.path().to_owned();
        self.runtime.block_on(async {
            tokio::select! {
                brought = content::bring(&self.session, store, digest, &path) => brought,
                () = self.session.closed() => Err(Error::invalid("the client went away")),
                () = self.cancel.cancelled() => Err(Error::invalid("the build was cancelled")),
            }
        })?;
        *slot = Some(received);
        Ok(path)
    }
}

impl ContextSource for SessionContexts {
    fn directory(&self, name: &str) -> std::result::Result<PathBuf, SessionError> {
        self.files(&Wanted { name: name.to_owned(), ..Wanted::default() })
    }

    fn files(&self, wanted: &Wanted) -> std::result::Result<PathBuf, SessionError> {
        self.bring(wanted).map_err(|error| session_error(&wanted.name, &error))
    }

    fn layout(&self, store: &str, digest: &Digest) -> std::result::Result<PathBuf, SessionError> {
        self.bring_layout(store, digest).map_err(|error| session_error(store, &error))
    }
}

fn session_error(name: &str, error: &Error) -> SessionError {
    SessionError { what: format!("local context `{name}`"), reason: error.chain() }
}

/// Bytes that a client sends, for threads that may wait.
struct Reader {
    answers: Streaming<BytesMessage>,
    rest: Vec<u8>,
    at: usize,
    session: Arc<Session>,
    cancel: CancellationToken,
    runtime: Handle,
}

impl std::io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.rest.len() {
            let Reader { answers, session, cancel, runtime, .. } = &mut *self;
            let next = runtime.block_on(async {
                tokio::select! {
                    next = answers.message() => next,
                    why = session.gone(cancel) => Err(Status::cancelled(why)),
                }
            });
            match next.map_err(|status| std::io::Error::other(status.message().to_owned()))? {
                Some(message) => (self.rest, self.at) = (message.data, 0),
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.rest.len() - self.at);
        buffer[..taken].copy_from_slice(&self.rest[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
