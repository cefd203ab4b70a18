//! `Secrets`: values that the client gives when a step asks for them.

use std::sync::Arc;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use kiln_engine::build::{Secrets, SessionError};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::session::Session;

/// What a client must serve for this.
const METHOD: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
/// How long a client may take to look something up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The secrets of a session. Asked on threads that may wait.
pub(super) struct SessionSecrets {
    pub(super) session: Arc<Session>,
    pub(super) runtime: Handle,
}

impl Secrets for SessionSecrets {
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        if !self.session.supports(METHOD) {
            return Ok(None);
        }
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        let mut client = SecretsClient::new(self.session.channel());
        let asked = self.runtime.block_on(async { timeout(PATIENCE, client.get_secret(request)).await });
        let failed = |reason: &str| {
            let what = format!("ask the client for the secret `{id}`");
            SessionError { what, reason: reason.to_owned() }
        };
        match asked.map_err(|_| failed("it does not answer"))? {
            Ok(answer) => Ok(Some(answer.into_inner().data)),
            Err(status) if is_absent(&status) => Ok(None),
            Err(status) => Err(failed(status.message())),
        }
    }
}

/// Whether a client says that it has no such thing.
fn is_absent(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::Unimplemented)
}
