//! The query of `POST /build` as the engine takes it. What kiln lacks is refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::body::Body;
use kiln_engine::build::{BuildRequest, Context, Export, ImageOptions, Input, Place, Squash};
use kiln_engine::containers::NetworkMode;
use kiln_engine::oci::Reference;
use serde::Deserialize;

use crate::docker::Failure;
use crate::docker::containers::extra_host;
use crate::docker::params::Params;
use crate::docker::stream::BodyReader;

/// Parameters that kiln has nothing for.
const LACKING: [&str; 9] = [
    "cgroupparent",
    "securityopt",
    "memory",
    "memswap",
    "cpushares",
    "cpusetcpus",
    "cpusetmems",
    "cpuperiod",
    "cpuquota",
];
/// The Dockerfile that is meant where none is named.
const DEFAULT: &str = "Dockerfile";

/// A resource limit.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Ulimit {
    name: String,
    soft: i64,
    hard: i64,
}

impl Ulimit {
    /// `name=soft:hard`
    pub(super) fn text(&self) -> String {
        format!("{}={}:{}", self.name, self.soft, self.hard)
    }
}

/// What a build is asked to do; its context is `body`, a tar. `environment`: what `git` and downloads need of ours.
pub(super) fn of(
    params: &Params,
    body: Body,
    environment: BTreeMap<String, String>,
) -> Result<BuildRequest, Failure> {
    refuse(params)?;
    let build_args = params.json::<BTreeMap<String, Option<String>>>("buildargs")?.unwrap_or_default();
    let ulimits = params.json::<Vec<Ulimit>>("ulimits")?.unwrap_or_default();
    let names = params.all("t").filter(|name| !name.is_empty()).map(|name| {
        let parsed = name.parse::<Reference>();
        parsed.map_err(|error| Failure::bad_request(format!("invalid tag \"{name}\": {error}")))
    });
    let squash = params.is_on("squash").then_some(Squash::New);
    let image = ImageOptions { names: names.collect::<Result<_, _>>()?, squash, ..ImageOptions::default() };
    Ok(BuildRequest {
        context: match params.text("remote") {
            Some(url) => Context::Remote(url.to_owned()),
            None => Context::Stream(Input::new(BodyReader::new(body))),
        },
        dockerfile: dockerfile(params.text("dockerfile"))?,
        target: params.text("target").map(str::to_owned),
        // One without a value is none: its client had no such variable.
        build_args: build_args.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        labels: params.json("labels")?.unwrap_or_default(),
        platforms: params.text("platform").map(str::to_owned).into_iter().collect(),
        no_cache: params.is_on("nocache"),
        pull: params.is_on("pull"),
        network: network(params.text("networkmode"))?,
        add_hosts: params.all("extrahosts").map(extra_host).collect::<Result<_, _>>()?,
        environment,
        shm_size: params.number("shmsize")?.unwrap_or_default(),
        ulimits: ulimits.iter().map(Ulimit::text).collect(),
        exports: vec![Export::Image { image, place: Place::default() }],
        ..BuildRequest::default()
    })
}

/// Limits of resources that nobody would keep are not taken.
pub(super) fn refuse_limits(params: &Params) -> Result<(), Failure> {
    let says = |name: &&&str| params.text(name).is_some_and(|text| !matches!(text, "0" | "[]" | "null"));
    if let Some(lacking) = LACKING.iter().find(says) {
        return Err(Failure::lacking(format!("`{lacking}` of a build")));
    }
    Ok(())
}

fn refuse(params: &Params) -> Result<(), Failure> {
    refuse_limits(params)?;
    if params.text("outputs").is_some_and(|outputs| !matches!(outputs, "[]" | "null")) {
        return Err(Failure::lacking("`outputs` of `POST /build`; `docker buildx build` has them"));
    }
    match params.text("remote") {
        Some("client-session") => Err(Failure::lacking("the context of a session for `POST /build`")),
        Some(url) if !url.contains("://") && !url.starts_with("git@") && !url.starts_with("github.com/") => {
            // A path would be one of this machine.
            Err(Failure::bad_request(format!("`remote={url}` is not a URL")))
        }
        _ => Ok(()),
    }
}

/// The Dockerfile, always one of the context: an absolute path begins there.
pub(super) fn dockerfile(path: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    let path = path.unwrap_or_default().trim_start_matches('/');
    if path.contains("://") {
        return Err(Failure::bad_request("`dockerfile` is a path in the context"));
    }
    Ok((!matches!(path, "" | DEFAULT)).then(|| PathBuf::from(path)))
}

fn network(mode: Option<&str>) -> Result<NetworkMode, Failure> {
    match mode.unwrap_or_default() {
        "" | "default" | "bridge" => Ok(NetworkMode::Bridge),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        other => Err(Failure::lacking(format!("the network `{other}` for builds"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::params::params;

    #[tokio::test]
    async fn each_parameter_reaches_the_engine() {
        let query = "t=a&t=b:2&dockerfile=sub/Dockerfile&remote=&nocache=1&pull=1&networkmode=none&shmsize=1048576\
                     &buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&labels=%7B%22l%22%3A%22m%22%7D&target=t\
                     &ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Hard%22%3A2%2C%22Soft%22%3A1%7D%5D\
                     &platform=linux/arm64&extrahosts=h:1.2.3.4&memory=0&cpuquota=0&rm=1&cachefrom=%5B%5D&version=1&squash=1";
        let request = of(&params(query), Body::empty(), BTreeMap::new()).unwrap();
        assert_eq!(request.dockerfile, Some("sub/Dockerfile".into()));
        assert_eq!(request.build_args, BTreeMap::from([("A".to_owned(), "1".to_owned())]));
        assert_eq!((request.labels["l"].as_str(), request.target.as_deref()), ("m", Some("t")));
        assert_eq!((request.ulimits.join(","), request.shm_size), ("nofile=1:2".to_owned(), 1 << 20));
        assert!(request.no_cache && request.pull && request.network == NetworkMode::None);
        assert_eq!((request.platforms.join(","), request.add_hosts.len()), ("linux/arm64".to_owned(), 1));
        let [Export::Image { image, place }] = &request.exports[..] else { panic!() };
        assert_eq!((image.names.len(), image.squash, place.store), (2, Some(Squash::New), true));
    }

    #[tokio::test]
    async fn what_would_lead_to_this_machine_or_is_lacking_is_refused() {
        let why =
            |query: &str| of(&params(query), Body::empty(), BTreeMap::new()).unwrap_err().status.as_u16();
        assert_eq!(why("dockerfile=http://host/Dockerfile"), 400);
        assert_eq!(why("remote=/etc"), 400);
        assert_eq!(why("remote=client-session"), 501);
        assert_eq!(why("memory=1048576"), 501);
        assert_eq!(why("networkmode=front"), 501);
        assert_eq!(dockerfile(Some("/etc/passwd")), Ok(Some("etc/passwd".into())));
        assert_eq!(dockerfile(Some("Dockerfile")), Ok(None));
    }
}
