//! Who may do what: nobody asked, a password, or tokens from `/token`.

use super::answer::{Answer, answer, failure};
use super::{Request, State};

/// What the registry asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    #[default]
    Open,
    /// Basic authentication with this `user:password` in base64.
    Basic(String),
    /// A bearer token, fetched from `realm`, by default `/token` here.
    Token {
        /// The `user:password` in base64 that the token server wants; `None` gives tokens to everybody.
        login: Option<String>,
        /// The identity token that a POST may bring instead.
        identity: Option<String>,
        /// Another place to fetch tokens from.
        realm: Option<String>,
        /// After so many requests a token has expired.
        uses: usize,
    },
}

impl Auth {
    /// Tokens for everybody, which do not expire.
    pub fn anonymous_tokens() -> Self {
        Auth::Token { login: None, identity: None, realm: None, uses: usize::MAX }
    }
}

#[derive(Debug)]
pub(super) struct Token {
    scope: String,
    uses: usize,
}

/// The answer to a request that may not pass.
pub(super) fn refuse(state: &mut State, request: &Request) -> Option<Answer> {
    let given = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
    match &state.auth {
        Auth::Open => None,
        Auth::Basic(login) => {
            let passes = given == format!("Basic {login}");
            (!passes).then(|| challenge(r#"Basic realm="test""#))
        }
        Auth::Token { realm, .. } => {
            let scope = needed_scope(request);
            let passes = given
                .strip_prefix("Bearer ")
                .is_some_and(|token| use_token(&mut state.tokens, token, &scope));
            let realm = realm.clone().unwrap_or_else(|| format!("{}/token", state.origin));
            let scope = if scope.is_empty() { scope } else { format!(r#",scope="{scope}""#) };
            (!passes).then(|| challenge(&format!(r#"Bearer realm="{realm}",service="test"{scope}"#)))
        }
    }
}

fn challenge(value: &str) -> Answer {
    let mut answer = failure(401, "UNAUTHORIZED");
    answer.headers_mut().insert("www-authenticate", value.parse().expect("a header value"));
    answer
}

fn needed_scope(request: &Request) -> String {
    let Some((repository, _)) = super::handler::split(&request.path) else { return String::new() };
    let actions = if matches!(request.method.as_str(), "GET" | "HEAD") { "pull" } else { "pull,push" };
    format!("repository:{repository}:{actions}")
}

fn use_token(tokens: &mut std::collections::HashMap<String, Token>, token: &str, needed: &str) -> bool {
    let Some(token) = tokens.get_mut(token) else { return false };
    let covers =
        token.scope.split(' ').any(|scope| scope == needed || scope == needed.replace(":pull", ":pull,push"));
    if !(covers || needed.is_empty()) || token.uses == 0 {
        return false;
    }
    token.uses -= 1;
    true
}

/// Answers a request for a token.
pub(super) fn give_token(state: &mut State, request: &Request, body: &[u8]) -> Answer {
    let Auth::Token { login, identity, uses, .. } = state.auth.clone() else {
        return failure(404, "NOT_FOUND");
    };
    let form = String::from_utf8_lossy(body).into_owned();
    let fields = if request.method == "POST" { &form } else { &request.query };
    let field =
        |name: &str| fields.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(decode);
    let by_post = request.method == "POST";
    let allowed = if by_post {
        let Some(identity) = identity else { return failure(404, "NOT_FOUND") };
        field("refresh_token") == Some(identity)
    } else {
        let given = request.headers.get("authorization").and_then(|given| given.strip_prefix("Basic "));
        login.is_none_or(|login| given == Some(&login))
    };
    if !allowed {
        return failure(401, "UNAUTHORIZED");
    }
    let scopes =
        fields.split('&').filter_map(|pair| pair.strip_prefix("scope=")).map(decode).collect::<Vec<_>>();
    let token = format!("secret-token-{}", state.tokens.len());
    state.tokens.insert(token.clone(), Token { scope: scopes.join(" "), uses });
    let key = if by_post { "access_token" } else { "token" };
    answer(200, &[("content-type", "application/json")], format!(r#"{{"{key}":"{token}","expires_in":300}}"#))
}

/// Undoes percent encoding.
pub(super) fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                std::str::from_utf8(&hex)
                    .ok()
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok())
                    .unwrap_or(b'?')
            }
            byte => byte,
        };
        out.push(byte);
    }
    String::from_utf8_lossy(&out).into_owned()
}
