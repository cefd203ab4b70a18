//! LLB, the wire form of build graphs, as the graph that it is. Everything in it was written by a stranger.

pub(super) mod exec;
mod file;
mod names;
pub(super) mod source;

use std::collections::HashMap;

use bollard_buildkit_proto::pb;
use kiln_engine::build::{GraphTarget, Prepared};
use kiln_engine::oci::{Digest, ImageConfig, Platform, Reference};
use kiln_engine::{Error, Result};
use kiln_graph::{
    ActionInput, CopyAction, Definition, DefinitionError, DiffOp, Edge, FileAction, FileOp, MergeOp, Op,
    SourceOp, VertexMeta,
};
use prost::Message as _;

use super::gateway::Part;
use super::offer::Nobody;
use super::solve::Work;
use super::source_rules::Policies;
use super::workers::platform_of;

/// The most vertices of a graph, and the most edges of all of them.
const MAX_VERTICES: usize = 100_000;
const MAX_EDGES: usize = 65_536;
/// The longest text of which places of errors are told.
const MAX_SOURCE: usize = 1 << 20;
/// What programs find in images that say nothing, as BuildKit has it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A graph that came over the wire.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) definition: Definition,
    /// The result; `None` is the empty filesystem.
    pub(super) root: Option<Edge>,
    /// What the client calls each vertex.
    pub(super) digests: Vec<Option<String>>,
    platform: Option<Platform>,
    /// The text that the vertices are of.
    source: Option<(String, Vec<u8>)>,
}

/// What a graph can mean beside itself.
pub(super) struct Around<'a> {
    /// The session of its build.
    pub(super) session: &'a str,
    /// What an image is here, by its digest.
    pub(super) image: &'a dyn Fn(&Reference, &Platform) -> Result<Option<Reference>>,
    /// What its sources may be.
    pub(super) rules: &'a Policies,
}

/// The graph of a definition, for a build.
pub(super) fn part(work: &Work, definition: &pb::Definition) -> Result<Part> {
    let session = work.offer.as_ref().map_or("", |offer| &offer.session.described().id);
    let image = |name: &Reference, platform: &Platform| work.engine.image_here(name, platform);
    let around = Around { session, image: &image, rules: &work.rules };
    let Graph { definition, root, digests, platform, source } = Graph::read(definition, &around)?;
    let platform = platform.unwrap_or_else(Platform::host);
    let mut config = ImageConfig::empty(platform.clone());
    config.config.env = vec![PATH.to_owned()];
    let target = GraphTarget { platform, root, config, base_layers: 0 };
    let outside = match &work.offer {
        Some(offer) => offer.outside(),
        None => Nobody::outside(),
    };
    let mut prepared = Prepared::of_graph(definition, vec![target], false, &outside);
    if let Some((name, text)) = source {
        prepared = prepared.with_source(&name, &text);
    }
    Ok(work.part(prepared, work.sink(digests), HashMap::new()))
}

impl Graph {
    /// Reads a definition: its last op says what is wanted, and names its inputs by the digests of their bytes, so that none
    /// can be its own input.
    pub(super) fn read(definition: &pb::Definition, around: &Around<'_>) -> Result<Graph> {
        let count = definition.def.len();
        if count > MAX_VERTICES {
            return Err(wrong(format!("{count} vertices are more than {MAX_VERTICES}")));
        }
        let mut reading = Reading {
            wire: definition,
            around,
            ops: Vec::with_capacity(count),
            by_digest: HashMap::with_capacity(count),
            done: HashMap::with_capacity(count),
            copies: HashMap::new(),
            graph: Graph { source: source_text(definition), ..Graph::default() },
        };
        let mut edges = 0;
        for bytes in &definition.def {
            let op = pb::Op::decode(&bytes[..]).map_err(|error| wrong(format!("an op is none: {error}")))?;
            edges += op.inputs.len();
            if edges > MAX_EDGES {
                return Err(wrong(format!("more than {MAX_EDGES} edges")));
            }
            let digest = Digest::of(bytes).to_string();
            reading.by_digest.insert(digest.clone(), reading.ops.len());
            reading.ops.push((digest, op));
        }
        let Some((_, last)) = reading.ops.last() else { return Ok(reading.graph) };
        match (&last.op, &last.inputs[..]) {
            (None, [root]) => {
                let root = root.clone();
                let edge = reading.all(&root)?;
                reading.graph.platform = reading.platform(&root);
                let root = reading.layers(edge)?;
                reading.graph.root = Some(root);
                Ok(reading.graph)
            }
            (None, []) => Ok(reading.graph),
            _ => Err(wrong("its last op does not say what is wanted")),
        }
    }
}

struct Reading<'a> {
    wire: &'a pb::Definition,
    around: &'a Around<'a>,
    ops: Vec<(String, pb::Op)>,
    by_digest: HashMap<String, usize>,
    /// The vertex of each op that was read, by its first output.
    done: HashMap<usize, Edge>,
    /// The copies of local contexts, which are read in place, as filesystems.
    copies: HashMap<Edge, Edge>,
    graph: Graph,
}

/// An op's inputs.
struct Inputs {
    edges: Vec<Edge>,
}

impl Inputs {
    /// The position that the wire names; below zero is the empty filesystem.
    fn position(&self, input: i64) -> Result<Option<u32>> {
        match u32::try_from(input) {
            Ok(position) if (position as usize) < self.edges.len() => Ok(Some(position)),
            Ok(position) => Err(wrong(format!("input {position} of {} is named", self.edges.len()))),
            Err(_) if input == -1 => Ok(None),
            Err(_) => Err(wrong(format!("input {input} is named"))),
        }
    }
}

impl Reading<'_> {
    /// Reads an op and everything that it needs; without recursion, as deep as a graph may be.
    fn all(&mut self, root: &pb::Input) -> Result<Edge> {
        let mut todo = vec![self.find(&root.digest)?];
        while let Some(&at) = todo.last() {
            if self.done.contains_key(&at) {
                todo.pop();
                continue;
            }
            let inputs = self.ops[at].1.inputs.iter().map(|input| self.find(&input.digest));
            let inputs = inputs.collect::<Result<Vec<usize>>>()?;
            let waits: Vec<usize> =
                inputs.into_iter().filter(|input| !self.done.contains_key(input)).collect();
            if waits.is_empty() {
                let edge = self.vertex(at)?;
                self.done.insert(at, edge);
                todo.pop();
            } else {
                todo.extend(waits);
            }
        }
        self.edge(root)
    }

    fn find(&self, digest: &str) -> Result<usize> {
        let missing = || wrong(format!("the input `{}` is not in it", digest.escape_debug()));
        self.by_digest.get(digest).copied().ok_or_else(missing)
    }

    fn edge(&self, input: &pb::Input) -> Result<Edge> {
        let at = self.find(&input.digest)?;
        let first = self.done.get(&at).ok_or_else(|| wrong("an op is its own input"))?;
        let output =
            u32::try_from(input.index).map_err(|_| wrong(format!("output {} is named", input.index)))?;
        Ok(Edge { output, ..*first })
    }

    fn platform(&self, root: &pb::Input) -> Option<Platform> {
        let (_, op) = &self.ops[self.find(&root.digest).ok()?];
        op.platform.as_ref().map(|platform| platform_of(Some(platform)))
    }

    fn vertex(&mut self, at: usize) -> Result<Edge> {
        let (digest, op) = self.ops[at].clone();
        let edges = op.inputs.iter().map(|input| self.edge(input)).collect::<Result<Vec<_>>>()?;
        let mut inputs = Inputs { edges };
        let platform = platform_of(op.platform.as_ref());
        let kind = op.op.ok_or_else(|| wrong("an op does nothing"))?;
        let meta = names::meta(self.wire, &digest, &kind);
        let op = match kind {
            pb::op::Op::Source(mut source) => {
                self.around.rules.apply(&mut source)?;
                Op::Source(source::read(&source, platform, self.around)?)
            }
            pb::op::Op::Exec(exec) => Op::Exec(self.exec(exec, platform, &mut inputs)?),
            pb::op::Op::File(file) => Op::File(self.file(file, &mut inputs)?),
            pb::op::Op::Merge(merge) => self.merge(&merge, &mut inputs)?,
            pb::op::Op::Diff(diff) => self.diff(&diff, &mut inputs)?,
            pb::op::Op::Build(_) => return Err(Error::not_implemented("a build in a graph (`BuildOp`)")),
        };
        self.add(op, inputs.edges, meta, Some(digest))
    }

    fn add(&mut self, op: Op, inputs: Vec<Edge>, meta: VertexMeta, digest: Option<String>) -> Result<Edge> {
        let refused = |error: DefinitionError| wrong(error.to_string());
        let id = self.graph.definition.add(op, inputs, meta).map_err(refused)?;
        self.graph.digests.push(digest);
        Ok(id.output())
    }

    fn merge(&mut self, merge: &pb::MergeOp, inputs: &mut Inputs) -> Result<Op> {
        let mut edges = Vec::new();
        for input in &merge.inputs {
            if let Some(position) = inputs.position(input.input)? {
                edges.push(self.layers(inputs.edges[position as usize])?);
            }
        }
        inputs.edges = edges;
        Ok(Op::Merge(MergeOp {}))
    }

    fn diff(&mut self, diff: &pb::DiffOp, inputs: &mut Inputs) -> Result<Op> {
        let side = |input: Option<i64>| inputs.position(input.unwrap_or(-1));
        let lower = side(diff.lower.as_ref().map(|lower| lower.input))?;
        let upper = side(diff.upper.as_ref().map(|upper| upper.input))?;
        for edge in &mut inputs.edges {
            *edge = self.layers(*edge)?;
        }
        Ok(Op::Diff(DiffOp { lower, upper }))
    }

    /// A filesystem that can be worked on: of a local context, whose files are read in place, a copy.
    fn layers(&mut self, edge: Edge) -> Result<Edge> {
        let Op::Source(SourceOp::Local { name, .. }) = &self.graph.definition.vertex(edge.vertex).op else {
            return Ok(edge);
        };
        if let Some(copy) = self.copies.get(&edge) {
            return Ok(*copy);
        }
        let copy = CopyAction {
            input: ActionInput::Scratch,
            source: ActionInput::Input(0),
            ..CopyAction::new(vec!["/".to_owned()], "/")
        };
        let meta = VertexMeta::named(format!("[internal] copy of {name}"));
        let op = Op::File(FileOp { actions: vec![FileAction::Copy(copy)] });
        let copy = self.add(op, vec![edge], meta, None)?;
        self.copies.insert(edge, copy);
        Ok(copy)
    }
}

/// The first text that a definition is of.
fn source_text(definition: &pb::Definition) -> Option<(String, Vec<u8>)> {
    let info = definition.source.as_ref()?.infos.first()?;
    (info.data.len() <= MAX_SOURCE).then(|| (info.filename.clone(), info.data.clone()))
}

/// An error of whoever wrote the graph.
fn wrong(why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the build graph: {why}"))
}

#[cfg(test)]
mod tests;
