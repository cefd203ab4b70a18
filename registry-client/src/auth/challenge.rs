//! What a `401` asks for (RFC 9110, 11.6.1; RFC 6750).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The most challenges that are looked at.
const MAX_CHALLENGES: usize = 16;

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from somewhere else.
    Bearer {
        /// Where.
        realm: String,
        /// For which service.
        service: String,
        /// For what, space-separated.
        scope: String,
    },
}

/// The best challenge kiln can meet: a token before a password.
pub(crate) fn parse(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<Challenge> = values.flat_map(parse_value).take(MAX_CHALLENGES).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or_else(|| all.first()).cloned()
}

fn parse_value(value: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = value.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = (rest[..end].to_ascii_lowercase(), &rest[end..]);
        if let Some(after) = after.strip_prefix('=') {
            let (value, after) = parameter(after);
            if let Some((_, parameters)) = schemes.last_mut() {
                parameters.push((word, value));
            }
            rest = after;
        } else {
            if !word.is_empty() {
                schemes.push((word, Vec::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    schemes.iter().filter_map(|(scheme, parameters)| challenge(scheme, parameters)).collect()
}

/// A token or a quoted string, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

fn challenge(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let get = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            Some(Challenge::Bearer { realm: get("realm"), service: get("service"), scope: get("scope") })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        parse(&headers)
    }

    fn bearer(realm: &str, service: &str, scope: &str) -> Option<Challenge> {
        let [realm, service, scope] = [realm, service, scope].map(str::to_owned);
        Some(Challenge::Bearer { realm, service, scope })
    }

    #[test]
    fn challenges_are_read_in_all_their_forms() {
        let hub = r#"Bearer realm="https://a/t",service="r",scope="repository:x:pull,push""#;
        assert_eq!(of(&[hub]), bearer("https://a/t", "r", "repository:x:pull,push"));
        assert_eq!(of(&["bearer Realm=https://a/t , service=r"]), bearer("https://a/t", "r", ""));
        assert_eq!(of(&[r#"Basic realm="x \" , Bearer y""#]), Some(Challenge::Basic));
        assert_eq!(of(&[r#"Basic realm="x", Bearer realm="https://a""#]), bearer("https://a", "", ""));
        assert_eq!(of(&["Basic", hub]), of(&[hub]));
        assert_eq!(of(&["Negotiate", "Digest nonce=1"]), None);
        for odd in ["", ",", "=", "\"", "Bearer realm=\"", "Bearer =,=,", "a=b"] {
            let _ = of(&[odd]);
        }
    }
}
