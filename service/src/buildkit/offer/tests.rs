//! What a client offers reaches the engine's traits, over a connection as real ones have it.

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::{Ssh, SshServer};
use bollard_buildkit_proto::moby::sshforward::v1::{
    BytesMessage as SshBytes, CheckAgentRequest, CheckAgentResponse,
};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use kiln_engine::{Config, Credential, Credentials as _};
use tonic::Response;

use super::super::session::{Described, Sessions};
use super::*;

struct Client;

#[tonic::async_trait]
impl Secrets for Client {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> std::result::Result<Response<GetSecretResponse>, Status> {
        match request.into_inner().id.as_str() {
            "token" => Ok(Response::new(GetSecretResponse { data: b"hunter2".to_vec() })),
            "broken" => Err(Status::internal("no disk")),
            _ => Err(Status::not_found("secret")),
        }
    }
}

#[tonic::async_trait]
impl Ssh for Client {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> std::result::Result<Response<CheckAgentResponse>, Status> {
        match request.into_inner().id.as_str() {
            "default" => Ok(Response::new(CheckAgentResponse {})),
            other => Err(Status::unknown(format!("unset ssh forward key {other}"))),
        }
    }

    type ForwardAgentStream = BoxStream<'static, std::result::Result<SshBytes, Status>>;

    /// Answers a message with itself, in two pieces.
    async fn forward_agent(
        &self,
        request: Request<Streaming<SshBytes>>,
    ) -> std::result::Result<Response<Self::ForwardAgentStream>, Status> {
        assert_eq!(request.metadata().get("buildkit.ssh.id").unwrap(), "default");
        let mut messages = request.into_inner();
        let data = messages.message().await?.unwrap().data;
        let (first, last) = data.split_at(3);
        let pieces = [first.to_vec(), last.to_vec()].map(|data| Ok(SshBytes { data }));
        Ok(Response::new(stream::iter(pieces).boxed()))
    }
}

#[tonic::async_trait]
impl Auth for Client {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> std::result::Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let known = host == "registry-1.docker.io";
        let word = |text: &str| if known { text.to_owned() } else { String::new() };
        Ok(Response::new(CredentialsResponse { username: word("me"), secret: word("hunter2") }))
    }

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> std::result::Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("token"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> std::result::Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unavailable("authority"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> std::result::Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unavailable("authority"))
    }
}

const METHODS: [&str; 3] = [
    "/moby.buildkit.secrets.v1.secrets/getsecret",
    "/moby.sshforward.v1.ssh/forwardagent",
    "/moby.filesync.v1.auth/credentials",
];

/// A session with [`Client`] at its other end, which says that it serves `methods`.
async fn session(methods: &[&str]) -> (Arc<Sessions>, Arc<Session>, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let routes = tonic::service::Routes::new(SecretsServer::new(Client))
        .add_service(SshServer::new(Client))
        .add_service(AuthServer::new(Client))
        .prepare()
        .into_axum_router();
    let serving = tokio::spawn(async move {
        let connection = auto::Builder::new(TokioExecutor::new());
        let service = TowerToHyperService::new(routes);
        drop(connection.serve_connection(TokioIo::new(theirs), service).await);
    });
    let methods = methods.iter().map(|method| (*method).to_owned()).collect();
    let described = Described { id: "s".to_owned(), methods, ..Described::default() };
    let sessions: Arc<Sessions> = Arc::default();
    let session = sessions.attach(described, ours).await.unwrap();
    (sessions, session, serving)
}

fn engine() -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Config::new(dir.path().join("state"))).unwrap();
    (dir, engine)
}

/// Asks as steps of a build do: on a thread that may wait.
async fn ask<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(question).await.unwrap()
}

#[tokio::test]
async fn secrets_are_asked_for_when_they_are_wanted() {
    let (_dir, engine) = engine();
    let (_sessions, session, _serving) = session(&METHODS).await;
    let secrets = Offer::new(&engine, session, CancellationToken::new()).outside().secrets.unwrap();
    ask(move || {
        assert_eq!(secrets.secret("token").unwrap().unwrap(), b"hunter2");
        assert_eq!(secrets.secret("other").unwrap(), None);
        assert!(secrets.secret("broken").unwrap_err().to_string().contains("no disk"));
    })
    .await;
}

#[tokio::test]
async fn an_agent_answers_through_the_session() {
    let (_dir, engine) = engine();
    let (_sessions, session, _serving) = session(&METHODS).await;
    let agents = Offer::new(&engine, session, CancellationToken::new()).outside().ssh.unwrap();
    let agent = ask(move || {
        assert!(agents.agent("other").unwrap().is_none());
        assert!(agents.agent("no\nword").is_err());
        agents.agent("default").unwrap().unwrap()
    })
    .await;
    assert_eq!(agent.answer(b"\x0b".to_vec()).await.unwrap(), b"\x0b");
    assert_eq!(agent.answer(b"\x0dsign".to_vec()).await.unwrap(), b"\x0dsign");
}

#[tokio::test]
async fn credentials_are_asked_for_by_the_names_that_clients_know() {
    let (_sessions, session, _serving) = session(&METHODS).await;
    let credentials = SessionCredentials { session, runtime: Handle::current() };
    ask(move || {
        let (username, password) = ("me".to_owned(), "hunter2".to_owned());
        assert_eq!(credentials.get("docker.io"), Some(Credential::Basic { username, password }));
        assert_eq!(credentials.get("other.example"), None);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_serves_nothing_is_asked_nothing() {
    let (_dir, engine) = engine();
    let (sessions, session, serving) = session(&[]).await;
    let outside = Offer::new(&engine, session.clone(), CancellationToken::new()).outside();
    ask(move || {
        assert_eq!(outside.secrets.unwrap().secret("token").unwrap(), None);
        assert!(outside.ssh.unwrap().agent("default").unwrap().is_none());
        let wanted = Wanted { name: "context".to_owned(), ..Wanted::default() };
        assert!(
            outside.contexts.unwrap().files(&wanted).unwrap_err().to_string().contains("no local folders")
        );
    })
    .await;
    serving.abort();
    session.closed().await;
    assert!(sessions.get("s").await.is_err(), "a session that is over is not found");
}
