//! Several graphs as one, in which what they have in common is there once.

use std::borrow::Cow;
use std::collections::HashMap;

use kiln_oci::Digest;

use super::{Definition, Edge, Vertex, VertexId};
use crate::{Op, SourceOp};

/// Graphs that became one.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    /// All of them.
    pub definition: Definition,
    /// Where each vertex of each graph is now.
    places: Vec<Vec<VertexId>>,
}

impl Definition {
    /// The union of `graphs`. Two vertices are one where they do the same on the same inputs; people are told about it what
    /// the first graph says. A local context is one vertex that includes what each of them does.
    pub fn merge(graphs: &[Definition]) -> Merged {
        let mut merged = Merged::default();
        let mut known: HashMap<(Digest, Vec<Edge>), Vec<VertexId>> = HashMap::new();
        for graph in graphs {
            let mut places: Vec<VertexId> = Vec::with_capacity(graph.len());
            for (_, vertex) in graph.vertices() {
                let place = |edge: &Edge| Edge { vertex: places[edge.vertex.0], ..*edge };
                let inputs: Vec<Edge> = vertex.inputs.iter().map(place).collect();
                let shape = shape(&vertex.op);
                let alike = known.entry((shape.digest(), inputs.clone())).or_default();
                let same = alike.iter().find(|id| self::shape(&merged.definition.vertex(**id).op) == shape);
                places.push(match same {
                    Some(id) => {
                        widen(&mut merged.definition.vertices[id.0].op, &vertex.op);
                        *id
                    }
                    None => {
                        let id = VertexId(merged.definition.len());
                        merged.definition.vertices.push(Vertex { inputs, ..vertex.clone() });
                        alike.push(id);
                        id
                    }
                });
            }
            merged.places.push(places);
        }
        merged
    }
}

/// What must be the same in two vertices that become one.
fn shape(op: &Op) -> Cow<'_, Op> {
    match op {
        Op::Source(SourceOp::Local { name, exclude, .. }) => {
            let (name, exclude) = (name.clone(), exclude.clone());
            Cow::Owned(Op::Source(SourceOp::Local { name, exclude, include: Vec::new(), follow: Vec::new() }))
        }
        _ => Cow::Borrowed(op),
    }
}

/// Lets a local context include what `other` does too.
fn widen(op: &mut Op, other: &Op) {
    if let (
        Op::Source(SourceOp::Local { include, follow, .. }),
        Op::Source(SourceOp::Local { include: more, follow: further, .. }),
    ) = (op, other)
    {
        unite(include, more);
        unite(follow, further);
    }
}

/// The union of two lists of paths, of which an empty one is all paths.
fn unite(paths: &mut Vec<String>, more: &[String]) {
    if more.is_empty() {
        paths.clear();
    }
    if !paths.is_empty() {
        paths.extend_from_slice(more);
        paths.sort();
        paths.dedup();
    }
}

impl Merged {
    /// Where `edge` of the graph that was number `graph` is now.
    pub fn edge(&self, graph: usize, edge: Edge) -> Edge {
        Edge { vertex: self.places[graph][edge.vertex.0], ..edge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecOp, VertexMeta};
    use kiln_oci::Platform;

    fn step(graph: &mut Definition, program: &str, inputs: &[VertexId]) -> VertexId {
        let root = (!inputs.is_empty()).then_some(0);
        let op = Op::Exec(ExecOp::new(vec![program.to_owned()], Platform::new("linux", "amd64", None), root));
        let inputs = inputs.iter().map(|id| id.output()).collect();
        graph.add(op, inputs, VertexMeta::named(program)).unwrap()
    }

    /// `last` on `compile`, with something before them so that numbers differ.
    fn chain(first: &str, last: &str) -> (Definition, VertexId) {
        let mut graph = Definition::new();
        step(&mut graph, first, &[]);
        let compile = step(&mut graph, "compile", &[]);
        let last = step(&mut graph, last, &[compile]);
        (graph, last)
    }

    #[test]
    fn what_graphs_have_in_common_is_there_once() {
        let ((a, a_last), (b, b_last)) = (chain("x", "link a"), chain("y", "link b"));
        let merged = Definition::merge(&[a, b]);
        let names = merged.definition.vertices().map(|(_, vertex)| vertex.meta.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["x", "compile", "link a", "y", "link b"]);
        let input_of = |edge: Edge| merged.definition.vertex(edge.vertex).inputs.clone();
        let (a, b) = (merged.edge(0, a_last.output()), merged.edge(1, b_last.output()));
        assert_ne!(a, b);
        assert_eq!(input_of(a), input_of(b));
    }

    #[test]
    fn what_no_digest_tells_apart_stays_apart() {
        let graph = |proxy: &str| {
            let mut graph = Definition::new();
            let mut exec = ExecOp::new(vec!["true".to_owned()], Platform::new("linux", "amd64", None), None);
            exec.proxy_env.push(proxy.to_owned());
            graph.add(Op::Exec(exec), Vec::new(), VertexMeta::named("x")).unwrap();
            graph
        };
        assert_eq!(Definition::merge(&[graph("A=1"), graph("A=2")]).definition.len(), 2);
        assert_eq!(Definition::merge(&[graph("A=1"), graph("A=1")]).definition.len(), 1);
    }
    #[test]
    fn a_context_is_there_once_with_what_everybody_wants() {
        let graph = |include: &[&str], exclude: &str| {
            let mut graph = Definition::new();
            let include: Vec<String> = include.iter().map(|path| (*path).to_owned()).collect();
            let (name, exclude) = ("context".to_owned(), vec![exclude.to_owned()]);
            let source = SourceOp::Local { name, exclude, follow: include.clone(), include };
            graph.add(Op::Source(source), Vec::new(), VertexMeta::named("context")).unwrap();
            graph
        };
        let included = |graphs: &[Definition]| {
            let merged = Definition::merge(graphs).definition;
            let lists = merged.vertices().map(|(_, vertex)| match &vertex.op {
                Op::Source(SourceOp::Local { include, .. }) => include.join(" "),
                other => panic!("{other:?}"),
            });
            lists.collect::<Vec<_>>()
        };
        assert_eq!(included(&[graph(&["b", "c"], "x"), graph(&["a", "b"], "x")]), ["a b c"]);
        assert_eq!(included(&[graph(&["a"], "x"), graph(&[], "x")]), [""]);
        assert_eq!(included(&[graph(&[], "x"), graph(&["a"], "x")]), [""]);
        assert_eq!(included(&[graph(&["a"], "x"), graph(&["a"], "y")]), ["a", "a"]);
    }
}
