//! Requests to one repository at one endpoint, with what its registry wants as authorization.

use std::sync::Arc;

use reqwest::{Method, Response, Url};

use crate::auth::token::Authority;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::origin::Origin;
use crate::transport::{Request, Transport};

/// How often one request may be told `401`: once to learn how, once more where a token expired on the way.
const MAX_CHALLENGES: usize = 2;

/// What a client shares between its requests.
pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) authority: Authority,
}

/// What is done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// One repository at one endpoint.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Endpoint,
    /// Whether requests are tried again; not where there is another place to ask.
    pub(crate) patient: bool,
    repository: String,
    scopes: Vec<String>,
}

impl Session {
    pub(crate) fn new(shared: &Arc<Shared>, endpoint: Endpoint, repository: &str, access: Access) -> Self {
        let actions = if access == Access::Pull { "pull" } else { "pull,push" };
        let scopes = vec![format!("repository:{}:{actions}", endpoint.repository(repository))];
        let patient = endpoint.mirror_of.is_none();
        Session { shared: Arc::clone(shared), endpoint, patient, repository: repository.to_owned(), scopes }
    }

    /// The registry itself rather than a repository, as a login asks it.
    pub(crate) fn of_registry(shared: &Arc<Shared>, endpoint: Endpoint) -> Self {
        let shared = Arc::clone(shared);
        Session { shared, endpoint, patient: true, repository: String::new(), scopes: Vec::new() }
    }

    /// The same, allowed to read from the repository `other` too.
    pub(crate) fn reading(&self, other: &str) -> Self {
        let mut session = self.clone();
        session.scopes.push(format!("repository:{}:pull", self.endpoint.repository(other)));
        session.scopes.sort();
        session
    }

    /// The same, asking once.
    pub(crate) fn impatient(self) -> Self {
        Session { patient: false, ..self }
    }

    /// The URL of `rest` in the repository.
    pub(crate) fn url(&self, rest: &str) -> Url {
        self.endpoint.url(&self.repository, rest)
    }

    /// A request for `rest` in the repository.
    pub(crate) fn request(&self, method: Method, rest: &str) -> Request {
        Request::new(method, self.url(rest))
    }

    /// Sends, authorised as far as the request goes to the registry itself.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response> {
        let Shared { transport, authority } = &*self.shared;
        let origin = Origin::of(self.endpoint.root());
        let mut challenges = 0;
        loop {
            let header = match Origin::of(&request.url) == origin {
                true => authority.header(transport, &self.endpoint, &self.scopes).await?,
                false => None,
            };
            let authorization = header.clone().map(|header| (origin.clone(), header));
            let answer = transport.send(request, authorization.as_ref(), self.patient).await?;
            // Whoever a redirect led to has no business asking for the registry's credentials.
            let asked = answer.status().as_u16() == 401 && Origin::of(answer.url()) == origin;
            challenges += 1;
            if !asked || challenges > MAX_CHALLENGES {
                return Ok(answer);
            }
            let headers = answer.headers();
            if !authority.learn(transport, &self.endpoint, &self.scopes, headers, header.as_ref()).await? {
                return Ok(answer);
            }
        }
    }

    /// Sends, and takes any status but `expected` as a failure.
    pub(crate) async fn expect(&self, request: &Request, expected: &[u16]) -> Result<Response> {
        let answer = self.send(request).await?;
        if expected.contains(&answer.status().as_u16()) {
            return Ok(answer);
        }
        Err(request.rejected(answer).await)
    }
}
