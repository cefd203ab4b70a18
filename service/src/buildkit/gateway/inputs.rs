//! What a build takes from other builds, or from graphs of its client: `FrontendInputs`. Each is made before there is a graph
//! of what takes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::pb;
use kiln_engine::Error;
use kiln_engine::build::BuiltBase;
use kiln_engine::oci::parse::parse_config;
use kiln_engine::oci::{Digest, ImageConfig};
use prost::Message as _;
use tonic::Status;

use super::super::{Server, errors, llb};
use super::answers::CONFIG;
use super::files::Reference;
use super::{Part, Work};

/// How a result of a build is told from other sources: a word of kiln's own that clients carry from one build to another.
const RESULT: &str = "kiln-result://";
/// What comes before an input's name where a client says what it knows of it, as JSON of base64.
const METADATA: &str = "input-metadata:";
/// What a build's own context and Dockerfile are called among inputs.
const OWN: [&str; 2] = ["context", "dockerfile"];

/// A graph that is the result `id` of the build `job`.
pub(super) fn definition(job: &str, id: &str) -> pb::Definition {
    let source = pb::SourceOp { identifier: format!("{RESULT}{job}/{id}"), ..pb::SourceOp::default() };
    let source = pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() }.encode_to_vec();
    let digest = Digest::of(&source).to_string();
    let metadata = BTreeMap::from([(digest.clone(), pb::OpMetadata::default())]);
    let end = pb::Op { inputs: vec![pb::Input { digest, index: 0 }], ..pb::Op::default() };
    pb::Definition { def: vec![source, end.encode_to_vec()], metadata, ..pb::Definition::default() }
}

/// The build and the result that a graph is, if it is one.
fn result(definition: &pb::Definition) -> Option<(String, String)> {
    let [source, _end] = &definition.def[..] else { return None };
    let Some(pb::op::Op::Source(source)) = pb::Op::decode(&source[..]).ok()?.op else { return None };
    let (job, id) = source.identifier.strip_prefix(RESULT)?.rsplit_once('/')?;
    Some((job.to_owned(), id.to_owned()))
}

/// Makes the inputs; nothing is the empty filesystem.
pub(in super::super) async fn bring(
    server: &Server,
    work: &Work,
    attributes: &HashMap<String, String>,
    definitions: &HashMap<String, pb::Definition>,
) -> Result<BTreeMap<String, Option<BuiltBase>>, Status> {
    let mut inputs = BTreeMap::new();
    for (name, definition) in definitions {
        if OWN.contains(&name.as_str()) {
            let error = Error::not_implemented(format!("a graph as the input `{name}` of a Dockerfile"));
            return Err(errors::status(&error));
        }
        let config = config(attributes.get(&format!("{METADATA}{name}")))?;
        let made = match (definition.def.is_empty(), find(server, definition).await?) {
            (true, _) => None,
            (false, Some((work, reference))) => Some(base(&work, &reference, config).await?),
            (false, None) => Some(of_graph(work, definition, config).await?),
        };
        inputs.insert(name.clone(), made);
    }
    Ok(inputs)
}

/// The result that a graph is, if it is one, and its build: what its own client offers, only that build has.
pub(super) async fn find(
    server: &Server,
    definition: &pb::Definition,
) -> Result<Option<(Arc<Work>, Arc<Reference>)>, Status> {
    let Some((job, id)) = result(definition) else { return Ok(None) };
    let gateway = server.jobs.get(&job).await?.gateway.clone();
    let reference = gateway.find(&id)?;
    Ok(Some((gateway.work().await?, reference)))
}

async fn of_graph(
    work: &Work,
    definition: &pb::Definition,
    config: Option<ImageConfig>,
) -> Result<BuiltBase, Status> {
    let part: Part = llb::part(work, definition).map_err(|error| errors::status(&error))?;
    base(work, &Arc::new(Reference::new(part, 0)), config).await
}

async fn base(work: &Work, reference: &Reference, config: Option<ImageConfig>) -> Result<BuiltBase, Status> {
    let files = reference.files(work).await?;
    let own = || reference.part.prepared.targets().get(reference.number).map(|target| target.config.clone());
    let config = config.or_else(own).ok_or_else(|| Status::internal("a result that is none"))?;
    Ok(files.base(config))
}

/// The configuration that a client says its input has.
fn config(metadata: Option<&String>) -> Result<Option<ImageConfig>, Status> {
    let Some(metadata) = metadata else { return Ok(None) };
    let wrong = |why: &dyn std::fmt::Display| Status::invalid_argument(format!("`{METADATA}…`: {why}"));
    let metadata: HashMap<String, String> = serde_json::from_str(metadata).map_err(|error| wrong(&error))?;
    let Some(text) = metadata.get(CONFIG) else { return Ok(None) };
    let bytes = STANDARD.decode(text).map_err(|error| wrong(&error))?;
    parse_config(&bytes).map(Some).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_known_again_in_its_graph() {
        let carried = definition("a/b", "kiln-7");
        assert_eq!(result(&carried), Some(("a/b".to_owned(), "kiln-7".to_owned())));
        let end = pb::Op::decode(&carried.def[1][..]).unwrap();
        assert_eq!(end.inputs[0].digest, Digest::of(&carried.def[0]).to_string());
        assert_eq!(result(&pb::Definition::default()), None);
    }
}
