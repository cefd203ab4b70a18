//! The attributes of the Dockerfile frontend, BuildKit's words for what a build is asked, as the engine's request.

use std::collections::{BTreeMap, HashMap};

use kiln_engine::build::{
    Attest, AttestForm, BuildRequest, Entitlements, PROVENANCE_FILE, Provenance, ProvenanceMode,
    ProvenanceOptions,
};
use kiln_engine::containers::NetworkMode;
use kiln_engine::{Error, Result, boolean, csv};

/// The argument that says which time new files and images get.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The names of the local contexts where nothing is said.
const CONTEXT: &str = "context";
const DOCKERFILE: &str = "dockerfile";

/// Limits of steps that nobody would keep.
const LACKING: [&str; 8] =
    ["cgroup-parent", "memory", "memswap", "cpushares", "cpuperiod", "cpuquota", "cpusetcpus", "cpusetmems"];

/// What the attributes say, but for where files come from.
#[derive(Debug)]
pub(super) struct Attributes {
    /// The request without contexts, exports and session.
    pub(super) request: BuildRequest,
    /// The URL of the context; `None` where it is the client's folder.
    pub(super) remote: Option<String>,
    /// The client's folder that is the context.
    pub(super) context: String,
    /// Its folder with the Dockerfile, and whether that was said and holds for a context elsewhere too.
    pub(super) dockerfile: (String, bool),
    /// What is asked instead of a build: `frontend.lint` and others.
    pub(super) question: Option<String>,
}

impl Attributes {
    /// Reads `attributes`. Those that no frontend has are left alone, as BuildKit does; limits are refused.
    pub(super) fn parse(attributes: &HashMap<String, String>) -> Result<Attributes> {
        let given = |key: &str| attributes.get(key).map(String::as_str).filter(|value| !value.is_empty());
        if let Some(lacking) = LACKING.iter().find(|key| given(key).is_some_and(|value| value != "0")) {
            return Err(Error::not_implemented(format!("`{lacking}` of a build")));
        }
        let with = |prefix: &str| -> BTreeMap<String, String> {
            let of = |(key, value): (&String, &String)| {
                Some((key.strip_prefix(prefix)?.to_owned(), value.clone()))
            };
            attributes.iter().filter_map(of).collect()
        };
        let context_key = given("contextkey").unwrap_or(CONTEXT);
        let remote = given(context_key).map(str::to_owned);
        let dockerfile = given("dockerfilekey");
        let mut request = BuildRequest {
            dockerfile: given("filename").map(Into::into),
            target: given("target").map(str::to_owned),
            build_args: with("build-arg:"),
            labels: with("label:"),
            named_contexts: with("context:").into_iter().collect(),
            platforms: list(given("platform")).collect(),
            pull: given("image-resolve-mode") == Some("pull"),
            network: network(given("force-network-mode").unwrap_or_default())?,
            add_hosts: hosts(given("add-hosts"))?,
            shm_size: number("shm-size", given("shm-size"))?,
            ulimits: list(given("ulimit")).collect(),
            attest: attest(attributes)?,
            ..BuildRequest::default()
        };
        match attributes.get("no-cache").map(String::as_str) {
            None => {}
            Some("") => request.no_cache = true,
            stages => request.no_cache_filter = list(stages).collect(),
        }
        if let Some(multi) = given("multi-platform") {
            request
                .build_args
                .entry("BUILDKIT_MULTI_PLATFORM".to_owned())
                .or_insert_with(|| multi.to_owned());
        }
        request.epoch = epoch(&request)?;
        Ok(Attributes {
            request,
            remote,
            context: CONTEXT.to_owned(),
            dockerfile: (dockerfile.unwrap_or(DOCKERFILE).to_owned(), dockerfile.is_some()),
            question: given("requestid").map(str::to_owned),
        })
    }
}

/// What a client grants its build, as far as the daemon lets it.
pub(super) fn entitlements(granted: &[String], allowed: &[String]) -> Result<Entitlements> {
    let mut entitlements = Entitlements::default();
    for grant in granted {
        let name = grant.split('=').next().unwrap_or_default();
        if !allowed.iter().any(|allowed| allowed == name || allowed == grant) {
            return Err(Error::new(
                kiln_engine::ErrorKind::Forbidden,
                format!("granting entitlement {grant} is not allowed by build daemon configuration"),
            ));
        }
        entitlements.grant(grant).map_err(|error| Error::invalid(error.to_string()))?;
    }
    Ok(entitlements)
}

fn list(text: Option<&str>) -> impl Iterator<Item = String> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned)
}

fn network(text: &str) -> Result<NetworkMode> {
    match text {
        "" | "default" | "sandbox" => Ok(NetworkMode::Bridge),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        other => Err(wrong("force-network-mode", other, "a network is `host`, `none` or `sandbox`")),
    }
}

/// `name=address` with commas between them.
fn hosts(text: Option<&str>) -> Result<Vec<(String, String)>> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let Some(hosts) = csv::record(text) else {
        return Err(wrong("add-hosts", text, "its quotes do not match"));
    };
    let host = |host: &String| match host.split_once('=') {
        Some((name, address)) => {
            let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            Ok((name.to_owned(), bare.to_owned()))
        }
        None => Err(wrong("add-hosts", host, "it is `name=address`")),
    };
    hosts.iter().map(host).collect()
}

fn number(key: &str, text: Option<&str>) -> Result<u64> {
    text.map_or(Ok(0), |text| text.parse().map_err(|_| wrong(key, text, "it is a number")))
}

/// The time of what is new, where the arguments say one; that of a context is found when it is there.
fn epoch(request: &BuildRequest) -> Result<Option<i64>> {
    let is_context =
        |text: &str| text == CONTEXT || request.named_contexts.iter().any(|(name, _)| name == text);
    let text = request.build_args.get(EPOCH).filter(|text| !text.is_empty() && !is_context(text));
    text.map(|text| text.parse().map_err(|_| wrong(EPOCH, text, "it is a number of seconds"))).transpose()
}

/// What is to be said about images: `attest:provenance` and `attest:sbom`, and their former names.
fn attest(attributes: &HashMap<String, String>) -> Result<Attest> {
    let mut attest = Attest { form: AttestForm::Index, ..Attest::default() };
    for (key, value) in attributes {
        match key.strip_prefix("attest:") {
            Some("provenance") => attest.provenance = provenance(key, value)?,
            Some("sbom") => attest.sbom = !pairs(key, value)?.iter().any(|(key, value)| is_off(key, value)),
            _ => {}
        }
    }
    Ok(attest)
}

fn provenance(key: &str, text: &str) -> Result<Option<Provenance>> {
    let (options, file) = (ProvenanceOptions::default(), PROVENANCE_FILE.to_owned());
    let mut provenance = Provenance { options, file, inline_only: false };
    for (name, value) in pairs(key, text)? {
        let flag = || boolean::parse(&value).ok_or_else(|| wrong(key, &value, "it is true or false"));
        match name.as_str() {
            _ if is_off(&name, &value) => return Ok(None),
            "mode" => {
                provenance.options.mode = match value.as_str() {
                    "min" => ProvenanceMode::Min,
                    "max" | "full" => ProvenanceMode::Max,
                    other => return Err(wrong(key, other, "`mode` is `min` or `max`")),
                }
            }
            "builder-id" => provenance.options.builder_id = value,
            "reproducible" => provenance.options.reproducible = flag()?,
            "inline-only" => provenance.inline_only = flag()?,
            "filename" if value.is_empty() || value.contains(['/', '\0']) || value.starts_with("..") => {
                return Err(wrong(key, &value, "`filename` is a name and no path"));
            }
            "filename" => provenance.file = value,
            _ => {}
        }
    }
    Ok(Some(provenance))
}

fn is_off(key: &str, value: &str) -> bool {
    key == "disabled" && boolean::parse(value) == Some(true)
}

fn pairs(key: &str, text: &str) -> Result<Vec<(String, String)>> {
    let fields = csv::record(text).ok_or_else(|| wrong(key, text, "its quotes do not match"))?;
    let pair = |field: &String| match field.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (field.clone(), String::new()),
    };
    Ok(fields.iter().filter(|field| !field.is_empty()).map(pair).collect())
}

fn wrong(key: &str, value: &str, why: &str) -> Error {
    Error::invalid(format!("`{key}={value}`: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(attributes: &[(&str, &str)]) -> Result<Attributes> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Attributes::parse(&attributes.iter().map(own).collect())
    }

    #[test]
    fn attributes_become_a_request() {
        let Attributes { request, remote, dockerfile, question, .. } = parse(&[
            ("filename", "build/Dockerfile"),
            ("target", "app"),
            ("build-arg:A", "1"),
            ("label:l", "m"),
            ("no-cache", "a,b"),
            ("platform", "linux/amd64,linux/arm64"),
            ("image-resolve-mode", "pull"),
            ("add-hosts", "h=1.2.3.4,v6=[::1]"),
            ("force-network-mode", "none"),
            ("shm-size", "1024"),
            ("ulimit", "nofile=1:2,nproc=3"),
            ("context:base", "docker-image://busybox"),
            ("memory", "0"),
            ("vcs:source", "x"),
        ])
        .unwrap();
        assert_eq!(request.dockerfile.unwrap().to_str(), Some("build/Dockerfile"));
        assert_eq!((request.target.as_deref(), request.build_args["A"].as_str()), (Some("app"), "1"));
        assert_eq!(
            (request.no_cache, request.no_cache_filter),
            (false, vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!((request.platforms.len(), request.pull, request.shm_size), (2, true, 1024));
        assert_eq!(request.add_hosts[1], ("v6".to_owned(), "::1".to_owned()));
        assert_eq!(request.named_contexts, [("base".to_owned(), "docker-image://busybox".to_owned())]);
        assert_eq!((remote, dockerfile, question), (None, ("dockerfile".to_owned(), false), None));
        assert!(parse(&[("no-cache", "")]).unwrap().request.no_cache);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            ("force-network-mode", "container:x"),
            ("add-hosts", "nobody"),
            ("shm-size", "-1"),
            ("build-arg:SOURCE_DATE_EPOCH", "yesterday"),
            ("attest:provenance", "mode=some"),
            ("attest:provenance", "filename=../x"),
            ("memory", "1048576"),
            ("cgroup-parent", "x"),
        ] {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn statements_are_asked_for_as_buildkit_has_it() {
        let attest = |value: &str| parse(&[("attest:provenance", value)]).unwrap().request.attest;
        let found = attest("mode=max,inline-only=true");
        assert_eq!(found.form, AttestForm::Index);
        let provenance = found.provenance.unwrap();
        assert!(provenance.inline_only && provenance.options.mode == ProvenanceMode::Max);
        assert!(attest("disabled=true").provenance.is_none());
        assert!(parse(&[("attest:sbom", "generator=x")]).unwrap().request.attest.sbom);
    }

    #[test]
    fn a_client_is_granted_what_the_daemon_allows() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let host = texts(&["network.host"]);
        assert!(entitlements(&host, &host).is_ok());
        assert_eq!(entitlements(&host, &[]).unwrap_err().kind, kiln_engine::ErrorKind::Forbidden);
        assert!(entitlements(&texts(&["device=a/b"]), &texts(&["device"])).is_ok());
        assert!(entitlements(&texts(&["more"]), &texts(&["more"])).is_err());
    }
    proptest! {
        /// Whatever a client says is a request or an error.
        #[test]
        fn no_attribute_makes_it_panic(
            said in prop::collection::hash_map(
                prop::sample::select(vec![
                    "filename", "target", "platform", "image-resolve-mode", "force-network-mode", "add-hosts", "shm-size",
                    "ulimit", "no-cache", "multi-platform", "contextkey", "dockerfilekey", "context", "requestid",
                    "attest:sbom", "attest:provenance", "build-arg:SOURCE_DATE_EPOCH", "build-arg:", "label:", "context:a",
                ]),
                "[a-z0-9=,:./\"@-]{0,24}|.{0,6}",
                0..8,
            )
        ) {
            drop(Attributes::parse(&said.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()));
        }
    }
}
