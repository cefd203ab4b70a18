//! The graph: vertices in an order in which every edge leads backwards.

mod makers;
mod merge;

use crate::{Op, SourceOp, VertexMeta};

pub use merge::Merged;

/// A vertex of one [`Definition`]; only `Definition::add` makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexId(usize);

impl VertexId {
    /// The position in the definition.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One output of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// Which vertex.
    pub vertex: VertexId,
    /// Which of its outputs.
    pub output: u32,
}

/// An operation, what it works on, and what people are told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// What is done.
    pub op: Op,
    /// On what; the operation names these by index.
    pub inputs: Vec<Edge>,
    /// For people.
    pub meta: VertexMeta,
}

/// A directed graph without cycles: an edge leads only to a vertex that was added before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    vertices: Vec<Vertex>,
}

/// Why a vertex was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// An input is no output of a vertex inside.
    #[error("add vertex `{name}`: input {input} is not in the graph")]
    UnknownInput {
        /// The new vertex.
        name: String,
        /// Which of its inputs.
        input: usize,
    },
    /// The operation names an input that it does not have.
    #[error("add vertex `{name}`: it names input {input} but has only {inputs}")]
    MissingInput {
        /// The new vertex.
        name: String,
        /// The index that it names.
        input: u32,
        /// How many there are.
        inputs: usize,
    },
    /// A file action works on the result of itself or of a later one.
    #[error("add vertex `{name}`: a file action names a later action")]
    ActionOrder {
        /// The new vertex.
        name: String,
    },
    /// An operation without content.
    #[error("add vertex `{name}`: it does nothing")]
    Empty {
        /// The new vertex.
        name: String,
    },
}

impl Definition {
    /// The graph without vertices.
    pub fn new() -> Self {
        Definition::default()
    }

    /// Adds a vertex; what it names must be there already, so a cycle cannot be written.
    pub fn add(&mut self, op: Op, inputs: Vec<Edge>, meta: VertexMeta) -> Result<VertexId, DefinitionError> {
        self.check(&op, &inputs, &meta)?;
        self.vertices.push(Vertex { op, inputs, meta });
        Ok(VertexId(self.vertices.len() - 1))
    }

    /// Replaces a source by another, for a builder that learns what it selects while it adds the source's users.
    /// Does nothing to a vertex that is no source.
    pub fn set_source(&mut self, id: VertexId, source: SourceOp) {
        if let Some(Vertex { op: op @ Op::Source(_), .. }) = self.vertices.get_mut(id.0) {
            *op = Op::Source(source);
        }
    }

    fn check(&self, op: &Op, inputs: &[Edge], meta: &VertexMeta) -> Result<(), DefinitionError> {
        let name = || meta.name.clone();
        if let Some(input) = inputs.iter().position(|edge| !self.holds(*edge)) {
            return Err(DefinitionError::UnknownInput { name: name(), input });
        }
        if let Some(input) = op.highest_input().filter(|input| *input as usize >= inputs.len()) {
            return Err(DefinitionError::MissingInput { name: name(), input, inputs: inputs.len() });
        }
        match op {
            Op::File(file) if file.actions.is_empty() => Err(DefinitionError::Empty { name: name() }),
            Op::Exec(exec) if exec.args.is_empty() => Err(DefinitionError::Empty { name: name() }),
            Op::File(file) if !file.is_ordered() => Err(DefinitionError::ActionOrder { name: name() }),
            _ => Ok(()),
        }
    }

    fn holds(&self, edge: Edge) -> bool {
        self.vertices.get(edge.vertex.0).is_some_and(|vertex| edge.output < vertex.op.outputs())
    }

    /// The vertex; `id` must be of this definition.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0]
    }

    /// Every vertex, inputs before users.
    pub fn vertices(&self) -> impl ExactSizeIterator<Item = (VertexId, &Vertex)> {
        self.vertices.iter().enumerate().map(|(index, vertex)| (VertexId(index), vertex))
    }

    /// How many vertices there are.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// The vertices that `roots` need, themselves included, inputs before users.
    pub fn reachable(&self, roots: &[Edge]) -> Vec<VertexId> {
        let mut needed = vec![false; self.vertices.len()];
        roots.iter().for_each(|root| needed[root.vertex.0] = true);
        for index in (0..self.vertices.len()).rev() {
            if needed[index] {
                self.vertices[index].inputs.iter().for_each(|edge| needed[edge.vertex.0] = true);
            }
        }
        (0..self.vertices.len()).filter(|index| needed[*index]).map(VertexId).collect()
    }
}

impl VertexId {
    /// The first output.
    pub fn output(self) -> Edge {
        Edge { vertex: self, output: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActionInput, ExecOp, FileAction, FileOp, MergeOp};
    use kiln_oci::Platform;

    fn exec(root: Option<u32>) -> Op {
        Op::Exec(ExecOp::new(vec!["true".to_owned()], Platform::new("linux", "amd64", None), root))
    }

    fn mkdir(input: ActionInput) -> Op {
        let path = "/a".to_owned();
        let action = FileAction::Mkdir { input, path, mode: 0o755, make_parents: true, owner: None };
        Op::File(FileOp { actions: vec![action] })
    }

    #[test]
    fn only_edges_inside_are_taken() {
        let mut graph = Definition::new();
        let first = graph.add(exec(None), vec![], VertexMeta::named("first")).unwrap();
        graph.add(exec(Some(0)), vec![first.output()], VertexMeta::named("second")).unwrap();
        let foreign = Edge { vertex: VertexId(9), output: 0 };
        let error = graph.add(Op::Merge(MergeOp {}), vec![foreign], VertexMeta::named("x")).unwrap_err();
        assert_eq!(error.to_string(), "add vertex `x`: input 0 is not in the graph");
        let second_output = Edge { vertex: first, output: 1 };
        assert!(graph.add(exec(Some(0)), vec![second_output], VertexMeta::named("x")).is_err());
    }

    #[test]
    fn an_operation_names_only_what_it_has() {
        let mut graph = Definition::new();
        let error = graph.add(exec(Some(0)), vec![], VertexMeta::named("x")).unwrap_err();
        assert_eq!(error.to_string(), "add vertex `x`: it names input 0 but has only 0");
        assert!(graph.add(mkdir(ActionInput::Action(0)), vec![], VertexMeta::named("x")).is_err());
        assert!(graph.add(mkdir(ActionInput::Scratch), vec![], VertexMeta::named("x")).is_ok());
    }

    #[test]
    fn reachable_leaves_out_what_nobody_asks_for() {
        let mut graph = Definition::new();
        let a = graph.add(exec(None), vec![], VertexMeta::named("a")).unwrap();
        graph.add(exec(Some(0)), vec![a.output()], VertexMeta::named("unused")).unwrap();
        let b = graph.add(exec(Some(0)), vec![a.output()], VertexMeta::named("b")).unwrap();
        assert_eq!(graph.reachable(&[b.output()]), vec![a, b]);
        assert_eq!(graph.reachable(&[a.output()]), vec![a]);
        let c = graph.add(exec(None), vec![], VertexMeta::named("c")).unwrap();
        assert_eq!(graph.reachable(&[c.output(), a.output()]), vec![a, c]);
    }
}
