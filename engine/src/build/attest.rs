//! What a build is asked to say about its images, and what it says of itself.

use std::collections::BTreeMap;
use std::time::SystemTime;

use kiln_builder::provenance;
use kiln_graph::url::redact;
use kiln_parser::plan::is_proxy;
use kiln_parser::remote;

use super::named::IMAGE;
use super::{Attest, BuildRequest, Export, Prepared};
use crate::containers::NetworkMode;
use crate::containers::new_id;
use crate::{Error, Result};

/// Who understands Dockerfiles, by BuildKit's name for it.
const FRONTEND: &str = "dockerfile.v0";

/// What is to be said, with everything that the build knows of itself.
pub(super) fn attest(request: &BuildRequest, prepared: &Prepared, began: SystemTime) -> Result<Attest> {
    let mut attest = request.attest.clone();
    if attest.is_empty() {
        return Ok(attest);
    }
    if request.all_exports().any(|export| matches!(export, Export::Docker { .. })) {
        let message = "`-o type=docker`: Docker's archive has no place for attestations";
        return Err(Error::invalid(message).with_hint("`-o type=oci` has, and so has an image of the store"));
    }
    attest.invocation = Some((new_id()?, began));
    attest.request = provenance::Request {
        // A graph that somebody sent was made by them.
        frontend: if prepared.sent { String::new() } else { FRONTEND.to_owned() },
        context: prepared.origin.clone(),
        path: prepared.source.name().to_owned(),
        args: parameters(request),
        dockerfile: prepared.source.text().as_bytes().to_vec(),
    };
    Ok(attest)
}

/// The parameters of a build by the names that BuildKit has for them; what depends on this machine alone is left out.
fn parameters(request: &BuildRequest) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut add = |key: String, value: String| drop(all.insert(key, value));
    let told = request.build_args.iter().filter(|(name, _)| !is_proxy(name));
    told.for_each(|(name, value)| add(format!("build-arg:{name}"), redact(value)));
    request.labels.iter().for_each(|(name, value)| add(format!("label:{name}"), value.clone()));
    request
        .named_contexts
        .iter()
        .for_each(|(name, place)| add(format!("context:{name}"), context(name, place)));
    request.target.iter().for_each(|target| add("target".to_owned(), target.clone()));
    if request.no_cache {
        add("no-cache".to_owned(), String::new());
    }
    match request.network {
        NetworkMode::Bridge => {}
        NetworkMode::Host => add("force-network-mode".to_owned(), "host".to_owned()),
        NetworkMode::None => add("force-network-mode".to_owned(), "none".to_owned()),
    }
    if !request.add_hosts.is_empty() {
        let hosts: Vec<String> =
            request.add_hosts.iter().map(|(name, address)| format!("{name}={address}")).collect();
        add("add-hosts".to_owned(), hosts.join(","));
    }
    if request.shm_size > 0 {
        add("shm-size".to_owned(), request.shm_size.to_string());
    }
    if !request.ulimits.is_empty() {
        add("ulimit".to_owned(), request.ulimits.join(","));
    }
    all
}

/// Where a named context is from; the path of a folder is this machine's own.
fn context(name: &str, place: &str) -> String {
    let is_elsewhere = remote::is_git(place) || remote::is_http(place) || place.starts_with(IMAGE);
    if is_elsewhere { redact(place) } else { format!("local:{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_buildkits_names_and_no_passwords() {
        let request = BuildRequest {
            target: Some("app".to_owned()),
            build_args: [("V", "1"), ("HTTP_PROXY", "http://me:hunter2@proxy.example")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            labels: [("l".to_owned(), "m".to_owned())].into(),
            named_contexts: vec![("src".to_owned(), "https://me:hunter2@git.example/a.git".to_owned())],
            no_cache: true,
            network: NetworkMode::None,
            add_hosts: vec![("h".to_owned(), "1.2.3.4".to_owned())],
            ..BuildRequest::default()
        };
        let found = parameters(&request);
        let keys: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "add-hosts",
                "build-arg:V",
                "context:src",
                "force-network-mode",
                "label:l",
                "no-cache",
                "target"
            ]
        );
        assert_eq!(
            (found["add-hosts"].as_str(), found["force-network-mode"].as_str()),
            ("h=1.2.3.4", "none")
        );
        assert!(!found["context:src"].contains("hunter2"), "{}", found["context:src"]);
        assert_eq!(context("src", "/home/me/src"), "local:src");
        assert_eq!(context("base", "docker-image://busybox"), "docker-image://busybox");
    }
}
