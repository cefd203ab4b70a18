//! `Auth`: the client's credentials for registries, asked for when a registry wants some.

use std::sync::Arc;

use bollard_buildkit_proto::moby::filesync::v1::CredentialsRequest;
use bollard_buildkit_proto::moby::filesync::v1::auth_client::AuthClient;
use kiln_engine::{Credential, Credentials};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::secrets::PATIENCE;
use super::session::Session;

/// What a client must serve for this.
const METHOD: &str = "/moby.filesync.v1.Auth/Credentials";
/// What references call Docker Hub, and what clients do.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// The credentials of a session. Asked on threads that may wait; never written down.
pub(super) struct SessionCredentials {
    pub(super) session: Arc<Session>,
    pub(super) runtime: Handle,
}

impl Credentials for SessionCredentials {
    fn get(&self, host: &str) -> Option<Credential> {
        if !self.session.supports(METHOD) {
            return None;
        }
        let host = if host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { host };
        let request = CredentialsRequest { host: host.to_owned() };
        let mut client = AuthClient::new(self.session.channel());
        let asked = self.runtime.block_on(async { timeout(PATIENCE, client.credentials(request)).await });
        match asked {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                credential(answer.username, answer.secret)
            }
            Ok(Err(status)) => {
                tracing::info!(host, message = status.message(), "the client gives no credentials");
                None
            }
            Err(_) => None,
        }
    }
}

/// A secret without a name is a token that stands for both.
fn credential(username: String, secret: String) -> Option<Credential> {
    match (username.is_empty(), secret.is_empty()) {
        (_, true) => None,
        (true, false) => Some(Credential::IdentityToken(secret)),
        (false, false) => Some(Credential::Basic { username, password: secret }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_without_a_name_is_a_token() {
        let of = |name: &str, secret: &str| credential(name.to_owned(), secret.to_owned());
        assert_eq!(of("", "t"), Some(Credential::IdentityToken("t".to_owned())));
        let (username, password) = ("me".to_owned(), "p".to_owned());
        assert_eq!(of("me", "p"), Some(Credential::Basic { username, password }));
        assert_eq!((of("me", ""), of("", "")), (None, None));
    }
}
