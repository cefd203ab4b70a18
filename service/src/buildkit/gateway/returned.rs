//! What a client returns of its build: which results become images, and with what configurations.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::result;
use kiln_engine::build::{GraphTarget, Prepared};
use kiln_engine::oci::parse::parse_config;
use kiln_engine::oci::{ImageConfig, Platform};
use kiln_engine::progress::ProgressSink;
use kiln_engine::{Error, Result};
use serde::Deserialize;
use tonic::Status;

use super::answers::{CONFIG, PLATFORMS};
use super::files::Reference;
use super::inputs;
use super::{Gateway, Part, Work};

/// Metadata that is told on as it is.
const TOLD_ON: &str = "frontend.";

/// The results of a build, in the order of their platforms.
#[derive(Clone, Default)]
pub(in super::super) struct Returned {
    images: Vec<Wanted>,
    multi_platform: bool,
    texts: HashMap<String, String>,
    /// What a client called each image, and said of them all.
    keys: Vec<String>,
    metadata: HashMap<String, Vec<u8>>,
}

#[derive(Clone)]
struct Wanted {
    /// The graph and its target; `None` is the empty filesystem.
    of: Option<(Part, usize)>,
    platform: Option<Platform>,
    config: Option<Vec<u8>>,
}

/// `refs.platforms`.
#[derive(Deserialize)]
struct Platforms {
    #[serde(rename = "Platforms", default)]
    list: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Platform")]
    platform: Platform,
}

impl Returned {
    /// All targets of a graph as they are.
    pub(in super::super) fn of_part(part: Part) -> Returned {
        let count = part.prepared.targets().len();
        let image = |number| Wanted { of: Some((part.clone(), number)), platform: None, config: None };
        Returned {
            images: (0..count).map(image).collect(),
            multi_platform: part.prepared.is_multi_platform(),
            ..Returned::default()
        }
    }

    /// What a client says.
    pub(super) fn of_result(
        gateway: &Gateway,
        result: wire::Result,
    ) -> std::result::Result<Returned, Status> {
        let wire::Result { result, metadata, .. } = result;
        let find = |id: &str| match id {
            "" => Ok(None),
            id => gateway.find(id).map(|found| Some((found.part.clone(), found.number))),
        };
        let texts = metadata.iter().filter(|(key, _)| key.starts_with(TOLD_ON));
        let texts =
            texts.filter_map(|(key, value)| Some((key.clone(), String::from_utf8(value.clone()).ok()?)));
        let mut returned =
            Returned { texts: texts.collect(), metadata: metadata.clone(), ..Returned::default() };
        let one = |id: &str| {
            let config = metadata.get(CONFIG).cloned();
            Ok::<_, Status>(vec![Wanted { of: find(id)?, platform: None, config }])
        };
        let refs: BTreeMap<String, String> = match result {
            None => return Ok(returned),
            Some(result::Result::RefDeprecated(id)) => {
                returned.images = one(&id)?;
                return Ok(returned);
            }
            Some(result::Result::Ref(reference)) => {
                returned.images = one(&reference.id)?;
                return Ok(returned);
            }
            Some(result::Result::RefsDeprecated(map)) => map.refs.into_iter().collect(),
            Some(result::Result::Refs(map)) => {
                map.refs.into_iter().map(|(key, found)| (key, found.id)).collect()
            }
        };
        returned.multi_platform = true;
        for (key, platform) in platforms(&metadata, &refs)? {
            let id = refs.get(&key).ok_or_else(|| Status::invalid_argument(format!("no ref for `{key}`")))?;
            let config = metadata.get(&format!("{CONFIG}/{key}")).cloned();
            returned.images.push(Wanted { of: find(id)?, platform, config });
            returned.keys.push(key);
        }
        Ok(returned)
    }

    /// No images, but what is said.
    pub(in super::super) fn said(metadata: HashMap<String, Vec<u8>>) -> Returned {
        Returned { metadata, ..Returned::default() }
    }

    /// The same as what another client is answered, whose `gateway` keeps the results.
    pub(super) fn answer(
        self,
        job: &str,
        gateway: &Gateway,
    ) -> std::result::Result<wire::SolveResponse, Status> {
        let keep = |image: &Wanted| match &image.of {
            Some((part, number)) => {
                let id = gateway.keep(Reference::new(part.clone(), *number))?;
                Ok::<_, Status>(wire::Ref { def: Some(inputs::definition(job, &id)), id })
            }
            None => Ok(wire::Ref::default()),
        };
        let mut refs = self.images.iter().map(keep).collect::<std::result::Result<Vec<_>, _>>()?;
        let result = match self.multi_platform {
            true => {
                let refs = self.keys.into_iter().zip(refs).collect();
                Some(result::Result::Refs(wire::RefMap { refs }))
            }
            false => refs.pop().map(result::Result::Ref),
        };
        let result = wire::Result { result, metadata: self.metadata, ..wire::Result::default() };
        Ok(wire::SolveResponse { result: Some(result), ..wire::SolveResponse::default() })
    }

    /// One graph of everything; `None` where there is nothing to be built.
    pub(in super::super) fn gather(&self) -> Result<Option<Prepared>> {
        let parts: Vec<(&Prepared, usize)> = self
            .images
            .iter()
            .filter_map(|image| image.of.as_ref().map(|(part, number)| (&*part.prepared, *number)))
            .collect();
        if parts.len() < self.images.len() {
            return self.nothing().map(Some);
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let mut whole = Prepared::gather(&parts, self.multi_platform)?;
        for (number, image) in self.images.iter().enumerate() {
            let target = adjust(whole.targets()[number].clone(), image)?;
            whole.set_target(number, target);
        }
        Ok(Some(whole))
    }

    /// Images without files.
    fn nothing(&self) -> Result<Prepared> {
        if self.images.iter().any(|image| image.of.is_some()) {
            return Err(Error::not_implemented("an image for several platforms of which one has no files"));
        }
        let empty = |image: &Wanted| {
            let platform = image.platform.clone().unwrap_or_else(Platform::host);
            let config = ImageConfig::empty(platform.clone());
            adjust(GraphTarget { platform, root: None, config, base_layers: 0 }, image)
        };
        let targets = self.images.iter().map(empty).collect::<Result<Vec<_>>>()?;
        let (graph, outside) = (kiln_graph::Definition::new(), super::super::offer::Nobody::outside());
        Ok(Prepared::of_graph(graph, targets, self.multi_platform, &outside))
    }

    /// Who hears of the build of it: whoever heard of its graph, where there is one.
    pub(in super::super) fn sink(&self, work: &Work) -> Arc<dyn ProgressSink> {
        let mut parts = self.images.iter().filter_map(|image| image.of.as_ref().map(|(part, _)| part));
        match parts.next() {
            Some(first) if parts.all(|part| Arc::ptr_eq(&part.prepared, &first.prepared)) => {
                first.sink.clone()
            }
            _ => work.sink(Vec::new()),
        }
    }

    /// What the client's own words add to the answer.
    pub(in super::super) fn texts(&self) -> HashMap<String, String> {
        self.texts.clone()
    }
}

/// The platforms that a result is for, in the client's order.
fn platforms(
    metadata: &HashMap<String, Vec<u8>>,
    refs: &BTreeMap<String, String>,
) -> std::result::Result<Vec<(String, Option<Platform>)>, Status> {
    let Some(bytes) = metadata.get(PLATFORMS) else {
        return Ok(refs.keys().map(|key| (key.clone(), key.parse().ok())).collect());
    };
    let wrong = |error| Status::invalid_argument(format!("`{PLATFORMS}`: {error}"));
    let listed: Platforms = serde_json::from_slice(bytes).map_err(wrong)?;
    Ok(listed.list.into_iter().map(|Entry { id, platform }| (id, Some(platform))).collect())
}

/// A target with the configuration that its client wants.
fn adjust(target: GraphTarget, image: &Wanted) -> Result<GraphTarget> {
    let mut target = target;
    if let Some(platform) = &image.platform {
        target.platform.clone_from(platform);
    }
    match &image.config {
        // What we said ourselves, unchanged.
        Some(bytes) if *bytes == target.config.to_bytes() => {}
        Some(bytes) => {
            let wrong = |error: &dyn std::fmt::Display| Error::invalid(format!("`{CONFIG}`: {error}"));
            let mut config: serde_json::Value =
                serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
            // What its layers are is not the client's to say.
            config["rootfs"] = serde_json::json!({ "type": "layers", "diff_ids": [] });
            let config = parse_config(config.to_string().as_bytes()).map_err(|error| wrong(&error))?;
            // Its layers are those of the result; which entries of a history are theirs, a client cannot know.
            target.config = ImageConfig { history: Vec::new(), ..config };
            target.config.rootfs.diff_ids = Vec::new();
            target.base_layers = 0;
            if image.platform.is_none() {
                target.platform = target.config.platform.clone();
            }
        }
        None => {}
    }
    Ok(target)
}
