//! Provenance: how an image came to be, as SLSA 1 with the fields of BuildKit's build type.
//!
//! Everything here is a function from plain data. The predicate's layout is BuildKit's (its `slsa-definitions.md`, which
//! the build type names), so that whoever reads BuildKit's provenance reads ours; `runDetails.builder.version` says that
//! kiln wrote it. `docs/attestations.md` lists the fields.

mod graph;
mod op;
mod resolved;

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_graph::{Definition, Edge, Mount, Network, Op};
use kiln_oci::Platform;
use serde_json::{Map, Value, json};

use crate::export::rfc3339;
use crate::materials::Materials;
pub use resolved::{Origin, Resolved};

/// The layout of what is written.
const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/// Parameters that may hold what nobody else should see; the smaller form is without them.
const PRIVATE: [&str; 2] = ["build-arg:", "label:"];

/// How much is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing that could be private: no build arguments, labels, secrets' names, steps or Dockerfile.
    Min,
    /// All of it.
    #[default]
    Max,
}

/// What is asked of a provenance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How much it tells.
    pub mode: Mode,
    /// Who builds, as a URI; empty where nobody says.
    pub builder_id: String,
    /// Whether the result is claimed to be reproducible; then nothing is told that differs from one build to the next.
    pub reproducible: bool,
}

/// What was asked of the build.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Who understood the Dockerfile, `dockerfile.v0`.
    pub frontend: String,
    /// Where the context came from, where that was not this machine.
    pub context: Option<Origin>,
    /// The Dockerfile's path in its context.
    pub path: String,
    /// The parameters by BuildKit's names: `target`, `build-arg:A`, `label:B`.
    pub args: BTreeMap<String, String>,
    /// The text of the Dockerfile.
    pub dockerfile: Vec<u8>,
}

/// When a build ran, and which one it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The build's own name, where it may have one.
    pub id: Option<String>,
    /// When it began.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub finished: Option<SystemTime>,
}

/// All that a provenance is made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What was asked.
    pub request: &'a Request,
    /// The graph.
    pub definition: &'a Definition,
    /// The image's place in it; `None` is the empty image.
    pub root: Option<Edge>,
    /// What the build ran on.
    pub builder: &'a Platform,
    /// What sources were found to be.
    pub materials: &'a Materials,
    /// When it ran.
    pub run: &'a Run,
}

/// The predicate.
pub fn predicate(facts: Facts<'_>, options: &Options) -> Value {
    let resolved = Resolved::of(facts);
    let request = request(facts, &resolved, options.mode);
    let is_whole = options.mode == Mode::Max || !facts.request.args.keys().any(|key| is_private(key));
    let mut internal = json!({ "builderPlatform": facts.builder.to_string() });
    if options.mode == Mode::Max {
        internal["buildConfig"] = json!({ "llbDefinition": graph::steps(facts.definition, facts.root) });
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": { "configSource": config_source(facts.request), "request": request },
            "internalParameters": internal,
            "resolvedDependencies": resolved.dependencies,
        },
        "runDetails": {
            "builder": {
                "id": options.builder_id,
                "version": { "kiln": env!("CARGO_PKG_VERSION") },
            },
            "metadata": metadata(facts, &resolved, options, is_whole),
        },
    })
}

fn config_source(request: &Request) -> Value {
    let mut source = Map::new();
    if let Some(Origin { uri, digest: (algorithm, hex) }) = &request.context {
        source.insert("uri".to_owned(), uri.as_str().into());
        source.insert("digest".to_owned(), json!({ *algorithm: hex }));
    }
    if !request.path.is_empty() {
        source.insert("path".to_owned(), request.path.as_str().into());
    }
    source.into()
}

fn request(facts: Facts<'_>, resolved: &Resolved, mode: Mode) -> Value {
    let Request { frontend, args, .. } = facts.request;
    let told = |key: &String| mode == Mode::Max || !is_private(key);
    let args: BTreeMap<_, _> = args.iter().filter(|(key, _)| told(key)).collect();
    let mut request = Map::from_iter([("frontend".to_owned(), Value::from(frontend.as_str()))]);
    let mut add = |key: &str, value: Value| {
        let is_empty =
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        if !is_empty {
            request.insert(key.to_owned(), value);
        }
    };
    add("args", json!(args));
    if mode == Mode::Max {
        let (secrets, agents) = asked(facts);
        add("secrets", secrets);
        add("ssh", agents);
    }
    add("locals", resolved.locals.iter().map(|name| json!({ "name": name })).collect());
    request.into()
}

fn is_private(key: &str) -> bool {
    PRIVATE.iter().any(|prefix| key.starts_with(prefix))
}

/// The secrets and agents that steps ask for, by their names; one that a single step requires is required.
fn asked(facts: Facts<'_>) -> (Value, Value) {
    let (mut secrets, mut agents): (BTreeMap<&str, bool>, BTreeMap<&str, bool>) = Default::default();
    for vertex in needed(facts) {
        let Op::Exec(exec) = &vertex.op else { continue };
        for mount in &exec.mounts {
            let (map, id, required) = match mount {
                Mount::Secret { id, required, .. } => (&mut secrets, id, *required),
                Mount::Ssh { id, required, .. } => (&mut agents, id, *required),
                _ => continue,
            };
            *map.entry(id.as_str()).or_default() |= required;
        }
    }
    let list = |map: BTreeMap<&str, bool>| {
        let entry = |(id, required): (&str, bool)| match required {
            true => json!({ "id": id }),
            false => json!({ "id": id, "optional": true }),
        };
        map.into_iter().map(entry).collect()
    };
    (list(secrets), list(agents))
}

fn needed(facts: Facts<'_>) -> impl Iterator<Item = &kiln_graph::Vertex> {
    graph::needed(facts.definition, facts.root).into_iter().map(|id| facts.definition.vertex(id))
}

fn metadata(facts: Facts<'_>, resolved: &Resolved, options: &Options, is_whole: bool) -> Value {
    let mut metadata = Map::new();
    let Run { id, started, finished } = facts.run;
    if let Some(id) = id {
        metadata.insert("invocationID".to_owned(), id.as_str().into());
    }
    for (key, time) in [("startedOn", started), ("finishedOn", finished)] {
        if let Some(time) = time {
            metadata.insert(key.to_owned(), rfc3339(*time).into());
        }
    }
    let mut kept = Map::new();
    if options.mode == Mode::Max {
        kept.insert("source".to_owned(), source(facts));
    }
    metadata.insert("buildkit_metadata".to_owned(), kept.into());
    let complete = resolved.is_complete();
    if complete && !reaches_network(facts) {
        metadata.insert("buildkit_hermetic".to_owned(), true.into());
    }
    let completeness = json!({ "request": is_whole, "resolvedDependencies": complete });
    metadata.insert("buildkit_completeness".to_owned(), completeness);
    if options.reproducible {
        metadata.insert("buildkit_reproducible".to_owned(), true.into());
    }
    metadata.into()
}

fn reaches_network(facts: Facts<'_>) -> bool {
    needed(facts).any(|vertex| matches!(&vertex.op, Op::Exec(exec) if exec.network != Network::None))
}

/// The Dockerfile, and which of its lines each step is.
fn source(facts: Facts<'_>) -> Value {
    let Request { path, dockerfile, .. } = facts.request;
    json!({
        "locations": graph::locations(facts.definition, facts.root),
        "infos": [{ "filename": path, "language": "Dockerfile", "data": STANDARD.encode(dockerfile) }],
    })
}

#[cfg(test)]
mod tests;
