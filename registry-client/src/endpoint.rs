//! Where a registry's requests go: its mirrors first, then itself.

use kiln_oci::reference::DOCKER_HUB;
use reqwest::Url;

use crate::config::RegistryConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::origin::is_loopback;

/// The host that Docker Hub's registry answers on.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// One place that can answer for a repository.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The host by which it is configured and its credentials are kept, for example `docker.io`.
    pub(crate) name: String,
    /// The URL up to `/v2/`.
    base: Url,
    /// The path between `/v2/` and the repository, with a slash at its end.
    prefix: String,
    /// The registry that it stands in for, where it is a mirror.
    pub(crate) mirror_of: Option<String>,
}

impl Endpoint {
    /// The registry `host` itself.
    pub(crate) fn upstream(host: &str, config: &RegistryConfig) -> Result<Self> {
        let address = if host == DOCKER_HUB { DOCKER_HUB_HOST } else { host };
        let base = base(address, config.get(host).and_then(|c| c.http)).ok_or_else(|| bad_host(host))?;
        Ok(Endpoint { name: host.to_owned(), base, prefix: String::new(), mirror_of: None })
    }

    /// A mirror, `[scheme://]host[/path]`.
    fn mirror(text: &str, of: &str, config: &RegistryConfig) -> Result<Self> {
        let (scheme, rest) =
            text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let http = scheme.map(|scheme| scheme == "http").or(config.get(host).and_then(|c| c.http));
        let known = matches!(scheme, None | Some("http" | "https"));
        let base = base(host, http).filter(|_| known).ok_or_else(|| bad_host(text))?;
        let path = path.trim_matches('/').trim_start_matches("v2/");
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        Ok(Endpoint { name: host.to_owned(), base, prefix, mirror_of: Some(of.to_owned()) })
    }

    /// The mirrors of the registry `host`, in order.
    pub(crate) fn mirrors(host: &str, config: &RegistryConfig) -> Result<Vec<Self>> {
        let mirrors = config.get(host).map(|table| table.mirrors.as_slice()).unwrap_or_default();
        mirrors.iter().map(|mirror| Endpoint::mirror(mirror, host, config)).collect()
    }

    /// `/v2/`.
    pub(crate) fn root(&self) -> &Url {
        &self.base
    }

    /// The name of `repository` here.
    pub(crate) fn repository(&self, repository: &str) -> String {
        format!("{}{repository}", self.prefix)
    }

    /// The URL of `rest` in `repository`.
    pub(crate) fn url(&self, repository: &str, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{rest}", self.repository(repository)));
        if let Some(of) = &self.mirror_of {
            // A mirror of several registries needs to know which is meant; others ignore it.
            url.query_pairs_mut().append_pair("ns", of);
        }
        url
    }
}

/// `/v2/` of a host; plain HTTP where configured, and on loopback unless configured otherwise.
fn base(host: &str, http: Option<bool>) -> Option<Url> {
    let secure = Url::parse(&format!("https://{host}/v2/")).ok()?;
    let plain = http.unwrap_or_else(|| is_loopback(&secure));
    let url = if plain { Url::parse(&format!("http://{host}/v2/")).ok()? } else { secure };
    let clean =
        url.path() == "/v2/" && url.username().is_empty() && url.query().is_none() && url.host().is_some();
    clean.then_some(url)
}

fn bad_host(host: &str) -> Error {
    let message = format!("`{}` is not a registry host", host.escape_debug());
    Error::without_request(ErrorKind::Refused, message)
}

#[cfg(test)]
mod tests {
    use kiln_oci::Reference;

    use super::*;
    use crate::config::HostConfig;

    fn urls(reference: &str, config: &RegistryConfig) -> Vec<String> {
        let reference: Reference = reference.parse().unwrap();
        let mut all = Endpoint::mirrors(reference.registry(), config).unwrap();
        all.push(Endpoint::upstream(reference.registry(), config).unwrap());
        all.iter().map(|e| e.url(reference.repository(), "tags/list").to_string()).collect()
    }

    #[test]
    fn hosts_are_reached_as_they_are_configured() {
        let mut config = RegistryConfig::new();
        assert_eq!(urls("nginx", &config), ["https://registry-1.docker.io/v2/library/nginx/tags/list"]);
        assert_eq!(urls("127.0.0.1:5000/a", &config), ["http://127.0.0.1:5000/v2/a/tags/list"]);
        assert_eq!(urls("[::1]:5000/a", &config), ["http://[::1]:5000/v2/a/tags/list"]);
        assert_eq!(urls("r.example:5000/a", &config), ["https://r.example:5000/v2/a/tags/list"]);
        config.insert("r.example:5000".to_owned(), HostConfig { http: Some(true), ..HostConfig::default() });
        config.insert("localhost:5000".to_owned(), HostConfig { http: Some(false), ..HostConfig::default() });
        assert_eq!(urls("r.example:5000/a", &config), ["http://r.example:5000/v2/a/tags/list"]);
        assert_eq!(urls("localhost:5000/a", &config), ["https://localhost:5000/v2/a/tags/list"]);
    }

    #[test]
    fn mirrors_come_first_and_may_have_a_path() {
        let mirrors =
            ["127.0.0.1:5000", "m.example/hub/proxy/", "http://n.example"].map(str::to_owned).to_vec();
        let config =
            RegistryConfig::from([("docker.io".to_owned(), HostConfig { mirrors, ..HostConfig::default() })]);
        let expected = [
            "http://127.0.0.1:5000/v2/library/nginx/tags/list?ns=docker.io",
            "https://m.example/v2/hub/proxy/library/nginx/tags/list?ns=docker.io",
            "http://n.example/v2/library/nginx/tags/list?ns=docker.io",
            "https://registry-1.docker.io/v2/library/nginx/tags/list",
        ];
        assert_eq!(urls("nginx", &config), expected);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["", "a b", "user@host", "h?x", "h#x", "a/b"] {
            assert!(Endpoint::upstream(host, &RegistryConfig::new()).is_err(), "{host}");
        }
        assert!(Endpoint::mirror("ftp://x", "docker.io", &RegistryConfig::new()).is_err());
    }
}
