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
use super::{Gateway, Part, Work};

/// Metadata that is told on as it is.
const TOLD_ON: &str = "frontend.";

/// The results of a build, in the order of their platforms.
#[derive(Clone, Default)]
pub(in super::super) struct Returned {
    images: Vec<Wanted>,
    multi_platform: bool,
    texts: HashMap<String, String>,
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
            texts: HashMap::new(),
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
        let mut returned = Returned { texts: texts.collect(), ..Returned::default() };
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
        }
        Ok(returned)
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
            let wrong = |error| Error::invalid(format!("`{CONFIG}`: {error}"));
            let config = parse_config(bytes).map_err(wrong)?;
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
