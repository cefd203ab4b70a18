//! What is sent as `Authorization`: learned from challenges, kept per registry and scope.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use super::challenge::{Challenge, parse};
use super::{Credential, Credentials};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::origin::{Origin, authority, may_follow, same_site};
use crate::transport::{Body, Request, Transport, read_limited};

/// How long a token lives that does not say so (distribution's token specification).
const DEFAULT_LIFE: u64 = 60;
/// The longest life that is believed.
const MAX_LIFE: u64 = 24 * 3600;
/// The most bytes of a token server's answer.
const MAX_ANSWER: usize = 1 << 20;
const CLIENT_ID: &str = "kiln";

/// What each registry wants, and what it was given.
pub(crate) struct Authority {
    credentials: Arc<dyn Credentials>,
    known: Mutex<HashMap<String, Known>>,
}

/// One registry.
#[derive(Default)]
struct Known {
    challenge: Option<Challenge>,
    basic: Option<HeaderValue>,
    tokens: HashMap<String, Token>,
}

struct Token {
    header: HeaderValue,
    expires: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authority {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Self {
        Authority { credentials, known: Mutex::default() }
    }

    /// One with the same credentials that knows nothing yet.
    pub(crate) fn anew(&self) -> Self {
        Authority::new(self.credentials.clone())
    }

    /// What to send to `endpoint` for `scopes`, as far as it is known what is wanted.
    pub(crate) async fn header(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>> {
        let challenge = {
            let known = self.known();
            let Some(known) = known.get(&endpoint.name) else { return Ok(None) };
            match &known.challenge {
                None => return Ok(None),
                Some(Challenge::Basic) => return Ok(known.basic.clone()),
                Some(challenge) => match known.tokens.get(&scopes.join(" ")) {
                    Some(token) if token.expires > Instant::now() => return Ok(Some(token.header.clone())),
                    _ => challenge.clone(),
                },
            }
        };
        let Challenge::Bearer { realm, service, .. } = challenge else { return Ok(None) };
        self.fetch(transport, endpoint, &realm, &service, scopes, scopes).await.map(Some)
    }

    /// Learns from a `401` that came in spite of `sent`; whether there is something else to send now.
    pub(crate) async fn learn(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scopes: &[String],
        answer: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<bool> {
        let Some(challenge) = parse(answer) else { return Ok(false) };
        self.known().entry(endpoint.name.clone()).or_default().challenge = Some(challenge.clone());
        match challenge {
            Challenge::Basic => self.learn_basic(endpoint, sent).await,
            Challenge::Bearer { realm, service, scope } => {
                let mut wanted = scopes.to_vec();
                wanted.extend(scope.split(' ').filter(|s| !s.is_empty()).map(str::to_owned));
                wanted.sort();
                wanted.dedup();
                self.fetch(transport, endpoint, &realm, &service, scopes, &wanted).await?;
                Ok(true)
            }
        }
    }

    async fn learn_basic(&self, endpoint: &Endpoint, sent: Option<&HeaderValue>) -> Result<bool> {
        let Some(credential) = self.credential(&endpoint.name).await else { return Ok(false) };
        let Credential::Basic { username, password } = credential else { return Ok(false) };
        let header = basic(&username, &password)?;
        if sent == Some(&header) {
            return Ok(false);
        }
        self.known().entry(endpoint.name.clone()).or_default().basic = Some(header);
        Ok(true)
    }

    /// Fetches a token for `wanted` and keeps it for `scopes`.
    async fn fetch(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        realm: &str,
        service: &str,
        scopes: &[String],
        wanted: &[String],
    ) -> Result<HeaderValue> {
        let credential = self.credential(&endpoint.name).await;
        if let Some(Credential::RegistryToken(token)) = &credential {
            return self.keep(endpoint, scopes, token, MAX_LIFE);
        }
        let realm = check_realm(transport, endpoint, realm, credential.is_some())?;
        let patient = endpoint.mirror_of.is_none();
        let question = Question { transport, realm, service, scopes: wanted, patient };
        let answer = question.ask(credential.as_ref()).await?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        let token = token
            .ok_or_else(|| question.error(ErrorKind::Invalid, "the token server's answer has no token"))?;
        let life = answer.expires_in.unwrap_or(DEFAULT_LIFE).clamp(DEFAULT_LIFE, MAX_LIFE);
        self.keep(endpoint, scopes, &token, life)
    }

    fn keep(&self, endpoint: &Endpoint, scopes: &[String], token: &str, life: u64) -> Result<HeaderValue> {
        let header = secret(format!("Bearer {token}"))?;
        // A little early, for the way to the registry takes time too.
        let expires = Instant::now() + Duration::from_secs(life) * 9 / 10;
        let token = Token { header: header.clone(), expires };
        let mut known = self.known();
        let tokens = &mut known.entry(endpoint.name.clone()).or_default().tokens;
        tokens.retain(|_, token| token.expires > Instant::now());
        tokens.insert(scopes.join(" "), token);
        Ok(header)
    }

    /// Asked on a blocking thread: credentials may come from a file or a helper program.
    async fn credential(&self, host: &str) -> Option<Credential> {
        let (credentials, host) = (Arc::clone(&self.credentials), host.to_owned());
        tokio::task::spawn_blocking(move || credentials.get(&host)).await.ok().flatten()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rules for token servers, which the registry names: no less secret than the registry itself, not inside from
/// outside, and with credentials only to the registry's own site or where the configuration says so.
fn check_realm(transport: &Transport, endpoint: &Endpoint, realm: &str, has_credential: bool) -> Result<Url> {
    let registry = endpoint.root();
    let refuse = |reason: &str| {
        let message = format!("the registry asks for a token {reason}");
        Error::new(ErrorKind::Refused, &Method::GET, registry, message)
    };
    let realm = Url::parse(realm).map_err(|_| refuse("from a malformed URL"))?;
    may_follow(registry, &realm).map_err(|reason| refuse(&format!("from elsewhere: {reason}")))?;
    let configured =
        transport.config.get(&endpoint.name).map(|host| host.realms.as_slice()).unwrap_or_default();
    let trusted = same_site(registry, &realm) || configured.contains(&authority(&realm));
    if has_credential && !trusted {
        let host = authority(&realm);
        let hint = format!(
            "if `{host}` may get the credentials, name it in `realms` of this registry's configuration"
        );
        return Err(refuse(&format!("from another site, `{host}`")).with_hint(hint));
    }
    Ok(realm)
}

/// A request for a token.
struct Question<'a> {
    transport: &'a Transport,
    realm: Url,
    service: &'a str,
    scopes: &'a [String],
    patient: bool,
}

impl Question<'_> {
    /// A password is shown by GET, or by POST where there is no GET; an identity token by POST, or by GET.
    async fn ask(&self, credential: Option<&Credential>) -> Result<Answer> {
        let (first, second) = match credential {
            None => (self.get(None)?, None),
            Some(Credential::Basic { username, password }) => {
                let form = [("grant_type", "password"), ("username", username), ("password", password)];
                (self.get(Some(basic(username, password)?))?, Some(self.post(&form)))
            }
            Some(Credential::IdentityToken(token)) => {
                let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
                (self.post(&form), Some(self.get(Some(basic("<token>", token)?))?))
            }
            Some(Credential::RegistryToken(token)) => {
                return Ok(Answer { token: Some(token.clone()), access_token: None, expires_in: None });
            }
        };
        let answer = self.send(&first).await?;
        match second {
            Some(second) if matches!(answer.status().as_u16(), 404 | 405) => {
                let answer = self.send(&second).await?;
                self.read(&second, answer).await
            }
            _ => self.read(&first, answer).await,
        }
    }

    async fn send(&self, request: &Request) -> Result<Response> {
        // The header is bound to the token server's origin, as a registry's is to the registry's.
        let header = request.headers.get(AUTHORIZATION).cloned();
        let authorization = header.map(|header| (Origin::of(&request.url), header));
        let mut request = request.clone();
        request.headers.remove(AUTHORIZATION);
        self.transport.send(&request, authorization.as_ref(), self.patient).await
    }

    async fn read(&self, request: &Request, answer: Response) -> Result<Answer> {
        if !answer.status().is_success() {
            return Err(request.rejected(answer).await);
        }
        let bytes = read_limited(answer, MAX_ANSWER).await;
        let answer = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        answer.ok_or_else(|| self.error(ErrorKind::Invalid, "the token server's answer is malformed"))
    }

    fn get(&self, authorization: Option<HeaderValue>) -> Result<Request> {
        let mut url = self.realm.clone();
        if !self.service.is_empty() {
            url.query_pairs_mut().append_pair("service", self.service);
        }
        for scope in self.scopes {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        let mut request = Request::new(Method::GET, url);
        if let Some(value) = authorization {
            request.headers.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    fn post(&self, fields: &[(&str, &str)]) -> Request {
        // `url` writes forms as the query of a URL.
        let mut form = self.realm.clone();
        form.query_pairs_mut().clear().extend_pairs(fields);
        form.query_pairs_mut().append_pair("service", self.service).append_pair("client_id", CLIENT_ID);
        if !self.scopes.is_empty() {
            form.query_pairs_mut().append_pair("scope", &self.scopes.join(" "));
        }
        let body = form.query().unwrap_or_default().to_owned();
        Request::new(Method::POST, self.realm.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::Bytes(body.into()))
    }

    fn error(&self, kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, &Method::GET, &self.realm, message)
    }
}

fn basic(username: &str, password: &str) -> Result<HeaderValue> {
    secret(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

/// A header that is never printed.
fn secret(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        Error::without_request(ErrorKind::Invalid, "a token or password cannot be sent in a header")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
