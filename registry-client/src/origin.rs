//! Origins: credentials belong to one, and not every other one may be followed to.

use std::net::IpAddr;

use reqwest::Url;
use reqwest::header::HeaderValue;

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    pub(crate) fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        Origin { scheme: url.scheme().to_owned(), host, port: url.port_or_known_default().unwrap_or(0) }
    }
}

/// A URL for people: no user info, no query, no fragment.
pub(crate) fn redact(url: &Url) -> String {
    let mut url = url.clone();
    // Fails only for URLs that cannot have user info.
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The `host` or `host:port` of a URL, as references and configuration write it.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Where the header `location`, sent by `from`, leads; an error text where kiln does not go there.
pub(crate) fn locate(from: &Url, location: Option<&HeaderValue>) -> Result<Url, &'static str> {
    let location = location.and_then(|value| value.to_str().ok()).ok_or("without a `Location`")?;
    let to = from.join(location).map_err(|_| "to a malformed `Location`")?;
    may_follow(from, &to)?;
    Ok(to)
}

/// Whether `from`, whoever answers there, may send us to `to`.
///
/// Never from TLS to plain HTTP; and what is outside may not point us at what is inside: loopback, link-local
/// (cloud metadata) and private addresses are followed to only from such themselves.
pub(crate) fn may_follow(from: &Url, to: &Url) -> Result<(), &'static str> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("from https to plain http"),
        _ => return Err("to a scheme other than http and https"),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("to a URL with user info");
    }
    let (from, to) = (reach(from), reach(to));
    if to == Reach::Nowhere {
        return Err("to a link-local or unspecified address");
    }
    if to < from { Err("from outside to a private or loopback address") } else { Ok(()) }
}

/// How far an address reaches; the smaller, the more inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Nowhere,
    Loopback,
    Private,
    World,
}

fn reach(url: &Url) -> Reach {
    let host = url.host_str().unwrap_or_default();
    let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else {
        return if is_localhost(host) { Reach::Loopback } else { Reach::World };
    };
    let address = address.to_canonical();
    match address {
        address if address.is_loopback() => Reach::Loopback,
        address if address.is_unspecified() || address.is_multicast() => Reach::Nowhere,
        IpAddr::V4(v4) if v4.is_link_local() || v4.is_broadcast() => Reach::Nowhere,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Reach::Nowhere,
        IpAddr::V4(v4) if v4.is_private() => Reach::Private,
        IpAddr::V6(v6) if v6.is_unique_local() => Reach::Private,
        _ => Reach::World,
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether a URL's host is this machine: such registries speak plain HTTP unless told otherwise.
pub(crate) fn is_loopback(url: &Url) -> bool {
    reach(url) == Reach::Loopback
}

/// Whether credentials for the registry `registry` may be sent to the token server `realm`: the same host, both on
/// this machine, or two hosts of one site.
pub(crate) fn same_site(registry: &Url, realm: &Url) -> bool {
    let (a, b) = (registry.host_str().unwrap_or_default(), realm.host_str().unwrap_or_default());
    if a.eq_ignore_ascii_case(b) || is_loopback(registry) && is_loopback(realm) {
        return true;
    }
    let is_name = |url: &Url| url.domain().is_some();
    is_name(registry) && is_name(realm) && site(a).is_some_and(|site_a| Some(site_a) == site(b))
}

/// The last two labels; three where the last two look like a country's second level (`co.uk`).
fn site(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = host.rsplit('.').collect();
    let second_level = labels.len() > 1 && labels[0].len() == 2 && labels[1].len() <= 3;
    let n = if second_level { 3 } else { 2 };
    (labels.len() >= n).then(|| labels[..n].join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn follows(from: &str, to: &str) -> bool {
        let location = HeaderValue::from_str(to).unwrap();
        locate(&url(from), Some(&location)).is_ok()
    }

    #[test]
    fn the_outside_does_not_lead_inside() {
        for to in [
            "http://cdn.example/x",
            "file:///etc/passwd",
            "gopher://x/",
            "https://169.254.169.254/latest",
            "https://127.0.0.1/x",
            "https://localhost:1/x",
            "https://[::1]/x",
            "https://10.0.0.1/x",
            "https://[::ffff:127.0.0.1]/",
            "https://0.0.0.0/",
            "https://user:pw@r.example/",
            "https://2130706433/",
            "https://[fe80::1]/",
            "https://192.168.1.1/",
            "//127.0.0.1/x",
        ] {
            assert!(!follows("https://r.example/v2/", to), "{to}");
        }
        for to in ["https://cdn.example/x", "/v2/y", "y?z", "https://r.example:444/"] {
            assert!(follows("https://r.example/v2/", to), "{to}");
        }
        assert!(follows("http://127.0.0.1:5000/", "http://127.0.0.1:6000/x"));
        assert!(follows("http://10.0.0.1:5000/", "http://10.0.0.2:9000/x"));
        assert!(!follows("http://10.0.0.1:5000/", "http://127.0.0.1/x"));
        assert!(!follows("http://127.0.0.1:5000/", "http://169.254.169.254/x"));
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let base = Origin::of(&url("https://r.example/a"));
        assert_eq!(base, Origin::of(&url("https://R.example:443/b?c")));
        for other in ["http://r.example/", "https://r.example:444/", "https://x.r.example/"] {
            assert_ne!(base, Origin::of(&url(other)));
        }
    }

    #[test]
    fn a_token_server_must_be_of_the_same_site() {
        let registry = url("https://registry-1.docker.io/");
        assert!(same_site(&registry, &url("https://auth.docker.io/token")));
        assert!(same_site(&url("https://registry.gitlab.com/"), &url("https://gitlab.com/jwt/auth")));
        assert!(!same_site(&registry, &url("https://docker.io.evil.example/")));
        assert!(!same_site(&url("https://a.co.uk/"), &url("https://b.co.uk/")));
        assert!(!same_site(&url("https://10.1.2.3/"), &url("https://10.9.2.3/")));
        assert!(same_site(&url("http://127.0.0.1:1/"), &url("http://localhost:2/")));
    }
}
