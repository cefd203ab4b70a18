//! What is asked of a request that came over the network, before it is looked at: that no browser was tricked into it.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{Request, StatusCode};

use super::tls::Tls;
use crate::docker::Failure;

/// Refuses a request that a browser makes for somebody else's page, and one that calls us by a name that is not ours.
pub(super) fn check<B>(request: &Request<B>, tls: &Tls) -> Result<(), Failure> {
    if request.headers().contains_key(ORIGIN) {
        return Err(refused("requests of web pages (with `Origin`) are not answered"));
    }
    let header = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let Some(host) = authority.or(header).map(without_port) else {
        return Err(refused("the request does not say which host it is for"));
    };
    let is_literal = host.parse::<std::net::IpAddr>().is_ok();
    match is_literal || host == "localhost" || tls.is_for(host) {
        true => Ok(()),
        false => Err(refused("the request is for a host that the certificate does not name")),
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, why)
}

/// The host of `host`, `host:port`, `[::1]` or `[::1]:port`.
fn without_port(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_its_port() {
        for (text, host) in
            [("a", "a"), ("a:1", "a"), ("1.2.3.4:5", "1.2.3.4"), ("[::1]", "::1"), ("[::1]:2376", "::1")]
        {
            assert_eq!(without_port(text), host);
        }
    }
}
