//! What a client is answered when it solves: references, and what images would be made of them.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::result;
use bollard_buildkit_proto::pb;
use kiln_engine::build::Prepared;
use serde_json::json;

use super::inputs;

/// The key of an image's configuration, and of the list of platforms.
pub(super) const CONFIG: &str = "containerimage.config";
pub(super) const PLATFORMS: &str = "refs.platforms";

/// The result that is nothing.
pub(super) fn empty() -> wire::SolveResponse {
    answer(result::Result::Ref(wire::Ref::default()), HashMap::new())
}

/// The result of a graph that a client sent.
pub(super) fn of_graph(id: String, definition: pb::Definition) -> wire::SolveResponse {
    answer(result::Result::Ref(wire::Ref { id, def: Some(definition) }), HashMap::new())
}

/// The results of a Dockerfile of the build `job`, one or one for each platform.
pub(super) fn of_targets(job: &str, prepared: &Prepared, ids: Vec<String>) -> wire::SolveResponse {
    let targets = prepared.targets();
    let reference = |id: String| wire::Ref { def: Some(inputs::definition(job, &id)), id };
    if !prepared.is_multi_platform() {
        let metadata = targets.iter().map(|target| (CONFIG.to_owned(), target.config.to_bytes()));
        let id = ids.into_iter().next().unwrap_or_default();
        return answer(result::Result::Ref(reference(id)), metadata.collect());
    }
    let name = |platform: &kiln_engine::oci::Platform| platform.to_string();
    let platforms: Vec<_> = targets
        .iter()
        .map(|target| json!({ "ID": name(&target.platform), "Platform": target.platform }))
        .collect();
    let mut metadata: HashMap<String, Vec<u8>> = targets
        .iter()
        .map(|target| (format!("{CONFIG}/{}", name(&target.platform)), target.config.to_bytes()))
        .collect();
    metadata.insert(PLATFORMS.to_owned(), json!({ "Platforms": platforms }).to_string().into_bytes());
    let refs = targets.iter().zip(ids).map(|(target, id)| (name(&target.platform), reference(id)));
    answer(result::Result::Refs(wire::RefMap { refs: refs.collect() }), metadata)
}

fn answer(result: result::Result, metadata: HashMap<String, Vec<u8>>) -> wire::SolveResponse {
    let result = wire::Result { result: Some(result), metadata, ..wire::Result::default() };
    wire::SolveResponse { result: Some(result), ..wire::SolveResponse::default() }
}
