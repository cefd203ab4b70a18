//! The query of `POST /build` with `version=2` as BuildKit's request. What kiln lacks is refused by name.

use std::collections::{BTreeMap, HashMap};

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, Exporter, SolveRequest};
use serde::Deserialize;

use super::request::{self, Ulimit};
use crate::docker::Failure;
use crate::docker::containers::extra_host;
use crate::docker::params::Params;

/// What the context is where it is a folder of the session.
const SESSION: &str = "client-session";
/// The output that is none.
const CACHE_ONLY: &str = "cacheonly";
/// The build argument by which clients ask for the cache in the image.
const INLINE_CACHE: &str = "BUILDKIT_INLINE_CACHE";

/// One of `outputs`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    r#type: String,
    #[serde(default)]
    attrs: Option<HashMap<String, String>>,
}

/// What the build `id` is asked to do.
pub(super) fn of(params: &Params, id: &str) -> Result<SolveRequest, Failure> {
    request::refuse_limits(params)?;
    if params.is_on("squash") {
        return Err(Failure::lacking("`squash` of a build with `version=2`"));
    }
    let build_args = params.json::<BTreeMap<String, Option<String>>>("buildargs")?.unwrap_or_default();
    // One without a value is none: its client had no such variable.
    let build_args = build_args.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let build_args: BTreeMap<String, String> = build_args.collect();
    let inline = build_args.get(INLINE_CACHE).and_then(|text| kiln_engine::boolean::parse(text));
    let exports = (inline == Some(true))
        .then(|| CacheOptionsEntry { r#type: "inline".to_owned(), ..CacheOptionsEntry::default() });
    Ok(SolveRequest {
        r#ref: id.to_owned(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: attributes(params, build_args)?,
        session: params.text("session").unwrap_or_default().to_owned(),
        exporters: exporter(params)?.into_iter().collect(),
        cache: Some(CacheOptions { exports: exports.into_iter().collect(), ..CacheOptions::default() }),
        ..SolveRequest::default()
    })
}

fn attributes(
    params: &Params,
    build_args: BTreeMap<String, String>,
) -> Result<HashMap<String, String>, Failure> {
    let remote = params.text("remote").filter(|remote| remote.contains("://") || remote.starts_with("git@"));
    let hosts = params.all("extrahosts").map(extra_host).collect::<Result<Vec<_>, _>>()?;
    let ulimits = params.json::<Vec<Ulimit>>("ulimits")?.unwrap_or_default();
    let listed = |list: Vec<String>| Some(list.join(",")).filter(|list| !list.is_empty());
    let network = match params.text("networkmode").unwrap_or_default() {
        "" | "default" | "bridge" => None,
        mode @ ("host" | "none") => Some(mode.to_owned()),
        other => return Err(Failure::lacking(format!("the network `{other}` for builds"))),
    };
    if let Some(unknown) = params.text("remote").filter(|text| remote.is_none() && !is_known(text)) {
        return Err(Failure::bad_request(format!("`remote={unknown}` is not a URL")));
    }
    let said = [
        ("context", remote.map(str::to_owned)),
        ("target", params.text("target").map(str::to_owned)),
        (
            "filename",
            request::dockerfile(params.text("dockerfile"))?
                .and_then(|it| it.into_os_string().into_string().ok()),
        ),
        ("platform", params.text("platform").map(str::to_owned)),
        ("no-cache", params.is_on("nocache").then(String::new)),
        ("image-resolve-mode", params.is_on("pull").then(|| "pull".to_owned())),
        ("force-network-mode", network),
        ("add-hosts", listed(hosts.iter().map(|(name, address)| format!("{name}={address}")).collect())),
        ("shm-size", params.number::<u64>("shmsize")?.filter(|size| *size > 0).map(|size| size.to_string())),
        ("ulimit", listed(ulimits.iter().map(Ulimit::text).collect())),
    ];
    let said = said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let labels = params.json::<BTreeMap<String, String>>("labels")?.unwrap_or_default();
    let labels = labels.into_iter().map(|(key, value)| (format!("label:{key}"), value));
    let build_args = build_args.into_iter().map(|(key, value)| (format!("build-arg:{key}"), value));
    Ok(said.chain(labels).chain(build_args).collect())
}

fn is_known(remote: &str) -> bool {
    matches!(remote, SESSION | super::session::UPLOAD)
}

/// What becomes of the result: an image where nothing is said.
fn exporter(params: &Params) -> Result<Option<Exporter>, Failure> {
    let mut outputs = params.json::<Vec<Output>>("outputs")?.unwrap_or_default();
    if outputs.len() > 1 {
        return Err(Failure::bad_request("multiple outputs not supported"));
    }
    let (kind, mut attrs) = match outputs.pop() {
        Some(output) if output.r#type == CACHE_ONLY => return Ok(None),
        Some(output) => (output.r#type, output.attrs.unwrap_or_default()),
        None => ("moby".to_owned(), HashMap::new()),
    };
    let names: Vec<&str> = params.all("t").filter(|name| !name.is_empty()).collect();
    if matches!(kind.as_str(), "moby" | "image") && !names.is_empty() {
        attrs.insert("name".to_owned(), names.join(","));
    }
    Ok(Some(Exporter { r#type: kind, attrs }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::params::params;

    #[test]
    fn each_parameter_is_an_attribute() {
        let query = "version=2&remote=client-session&session=s&buildid=b&t=a&t=b:2&dockerfile=Other&nocache=1&pull=1\
                     &networkmode=none&shmsize=1048576&buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&target=t\
                     &labels=%7B%22l%22%3A%22m%22%7D&extrahosts=h:1.2.3.4&extrahosts=v6:::1&platform=linux/arm64\
                     &ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Hard%22%3A2%2C%22Soft%22%3A1%7D%5D";
        let request = of(&params(query), "b").unwrap();
        let mut attributes: Vec<String> =
            request.frontend_attrs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        attributes.sort();
        let expected = [
            "add-hosts=h=1.2.3.4,v6=::1",
            "build-arg:A=1",
            "filename=Other",
            "force-network-mode=none",
            "image-resolve-mode=pull",
            "label:l=m",
            "no-cache=",
            "platform=linux/arm64",
            "shm-size=1048576",
            "target=t",
            "ulimit=nofile=1:2",
        ];
        assert_eq!(attributes, expected);
        assert_eq!((request.r#ref.as_str(), request.session.as_str()), ("b", "s"));
        assert_eq!(
            (request.exporters[0].r#type.as_str(), request.exporters[0].attrs["name"].as_str()),
            ("moby", "a,b:2")
        );
    }

    #[test]
    fn outputs_are_exporters() {
        let outputs =
            |text: &str| of(&params(&format!("outputs={text}")), "b").map(|request| request.exporters);
        let local =
            outputs("%5B%7B%22Type%22%3A%22local%22%2C%22Attrs%22%3A%7B%22dest%22%3A%22x%22%7D%7D%5D")
                .unwrap();
        assert_eq!(local[0].r#type, "local");
        assert!(outputs("%5B%7B%22Type%22%3A%22cacheonly%22%2C%22Attrs%22%3Anull%7D%5D").unwrap().is_empty());
        assert_eq!(outputs("null").unwrap()[0].r#type, "moby");
    }

    #[test]
    fn what_would_lead_to_this_machine_or_is_lacking_is_refused() {
        let why = |query: &str| of(&params(query), "b").unwrap_err().status.as_u16();
        assert_eq!(why("remote=/etc"), 400);
        assert_eq!(why("dockerfile=http://host/Dockerfile"), 400);
        assert_eq!((why("memory=1048576"), why("networkmode=front"), why("squash=1")), (501, 501, 501));
        let inline = of(&params("buildargs=%7B%22BUILDKIT_INLINE_CACHE%22%3A%221%22%7D"), "b").unwrap();
        assert_eq!(inline.cache.unwrap().exports[0].r#type, "inline");
    }
}
