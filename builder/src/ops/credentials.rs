//! Secrets of the session that are credentials for servers, found by the names that BuildKit gives them.

use kiln_graph::GitAccess;

use crate::error::Cause;
use crate::session::Session;

/// What is sent as `Authorization` to the server of a download: `HTTP_AUTH_HEADER_<host>` as it is, or
/// `HTTP_AUTH_TOKEN_<host>` as a bearer token.
pub(super) fn of_download(session: &Session, url: &str) -> Result<Option<String>, Cause> {
    let host = hostname(authority(url));
    if let Some(header) = text(session, &format!("HTTP_AUTH_HEADER_{host}"))? {
        return Ok(Some(header));
    }
    let token = text(session, &format!("HTTP_AUTH_TOKEN_{host}"))?;
    Ok(token.map(|token| format!("Bearer {token}")))
}

/// How a git server is authorised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GitSecret {
    /// The value of `Authorization`.
    Header(String),
    /// A token that stands for a password.
    Token(String),
}

/// `GIT_AUTH_HEADER.<host>`, `GIT_AUTH_TOKEN.<host>`, `GIT_AUTH_HEADER` or `GIT_AUTH_TOKEN`, the first that is there; or
/// what `access` calls them.
pub(super) fn of_git(
    session: &Session,
    remote: &str,
    access: &GitAccess,
) -> Result<Option<GitSecret>, Cause> {
    let host = authority(remote);
    let header = access.header_secret.as_deref().unwrap_or("GIT_AUTH_HEADER");
    let token = access.token_secret.as_deref().unwrap_or("GIT_AUTH_TOKEN");
    for suffix in [format!(".{host}"), String::new()] {
        if let Some(header) = text(session, &format!("{header}{suffix}"))? {
            return Ok(Some(GitSecret::Header(header)));
        }
        if let Some(token) = text(session, &format!("{token}{suffix}"))? {
            return Ok(Some(GitSecret::Token(token)));
        }
    }
    Ok(None)
}

/// A secret that is one line of text; an empty one is none.
fn text(session: &Session, id: &str) -> Result<Option<String>, Cause> {
    let Some(value) = session.secrets.secret(id)? else { return Ok(None) };
    let invalid = || Cause::Invalid(format!("the secret `{id}` is not one line of text"));
    let text = String::from_utf8(value).map_err(|_| invalid())?;
    let text = text.trim_end_matches(['\r', '\n']);
    match text.chars().any(char::is_control) {
        true => Err(invalid()),
        false => Ok(Some(text.to_owned()).filter(|text| !text.is_empty())),
    }
}

/// `host[:port]` of a URL, without user info.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// The host of `host[:port]`.
fn hostname(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// A part of a URL with its `%xx` read.
pub(super) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                &tail[2..]
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::session::{Secrets, SessionError};

    struct Known(BTreeMap<&'static str, &'static str>);

    impl Secrets for Known {
        fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
            Ok(self.0.get(id).map(|value| value.as_bytes().to_vec()))
        }
    }

    fn session<const N: usize>(secrets: [(&'static str, &'static str); N]) -> Session {
        Session { secrets: Arc::new(Known(BTreeMap::from(secrets))), ..Session::empty() }
    }

    #[test]
    fn a_download_has_its_hosts_secret() {
        let url = "https://u:p@h.example:444/x";
        let of = |session: &Session| of_download(session, url).unwrap();
        assert_eq!(of(&session([("HTTP_AUTH_TOKEN_h.example", "t\n")])).as_deref(), Some("Bearer t"));
        let both = session([("HTTP_AUTH_TOKEN_h.example", "t"), ("HTTP_AUTH_HEADER_h.example", "Own x")]);
        assert_eq!(of(&both).as_deref(), Some("Own x"));
        assert_eq!(of(&session([("HTTP_AUTH_TOKEN_other", "t"), ("HTTP_AUTH_TOKEN_", "t")])), None);
        assert!(of_download(&session([("HTTP_AUTH_TOKEN_h.example", "a\nb: c")]), url).is_err());
    }

    #[test]
    fn a_repository_has_its_hosts_secret_before_the_general_one() {
        let usual = GitAccess::default();
        let of = |session: &Session| of_git(session, "https://h:1/r.git", &usual).unwrap();
        let general = session([("GIT_AUTH_TOKEN", "g"), ("GIT_AUTH_TOKEN.h:1", "own")]);
        assert_eq!(of(&general), Some(GitSecret::Token("own".to_owned())));
        assert_eq!(
            of(&session([("GIT_AUTH_HEADER", "h"), ("GIT_AUTH_TOKEN", "t")])),
            Some(GitSecret::Header("h".to_owned()))
        );
        assert_eq!(of(&session([("GIT_AUTH_TOKEN.other", "t")])), None);
        let access = GitAccess { token_secret: Some("MINE".to_owned()), ..GitAccess::default() };
        let both = session([("MINE.h:1", "m"), ("GIT_AUTH_TOKEN", "t")]);
        let named = of_git(&both, "https://h:1/r.git", &access).unwrap();
        assert_eq!(named, Some(GitSecret::Token("m".to_owned())));
    }

    #[test]
    fn hosts_of_urls() {
        for (url, host) in [("http://[::1]:8/x", "::1"), ("https://h?x", "h"), ("https://a@b:1#c", "b")] {
            assert_eq!(hostname(authority(url)), host);
        }
    }
}
