//! In which forms the layers of file operations are made at once, besides what everybody can make of them later.

use std::collections::HashSet;

use kiln_graph::{ActionInput, Definition, Edge, FileAction, Mount, Op, Vertex, VertexId};
use kiln_oci::compression::Packing;

/// The forms that a described layer is made in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forms {
    /// Whether some step needs its files in a directory.
    pub unpacked: bool,
    /// What it will be packed with, if some export sends it.
    pub packing: Option<Packing>,
}

/// The vertices whose files other steps of the definition mount or copy.
pub(crate) fn shown(definition: &Definition) -> HashSet<VertexId> {
    let mut shown = HashSet::new();
    for (_, vertex) in definition.vertices() {
        for input in shown_by(vertex) {
            add_stack(definition, vertex.inputs.get(input as usize).copied(), &mut shown);
        }
    }
    shown
}

/// The inputs of a step whose files it needs.
fn shown_by(vertex: &Vertex) -> Vec<u32> {
    match &vertex.op {
        Op::Exec(exec) => exec.mounts.iter().filter_map(Mount::input).collect(),
        Op::File(file) => {
            let source = |action: &FileAction| match action {
                FileAction::Copy(copy) => match copy.source {
                    ActionInput::Input(input) => Some(input),
                    _ => None,
                },
                _ => None,
            };
            file.actions.iter().filter_map(source).collect()
        }
        Op::Source(_) | Op::Merge(_) | Op::Diff(_) => Vec::new(),
    }
}

/// Adds a vertex and those whose layers lie below its own, as far as they are not there.
fn add_stack(definition: &Definition, edge: Option<Edge>, shown: &mut HashSet<VertexId>) {
    let mut next = edge;
    while let Some(edge) = next {
        if !shown.insert(edge.vertex) {
            return;
        }
        let vertex = definition.vertex(edge.vertex);
        next = base(vertex).and_then(|input| vertex.inputs.get(input as usize)).copied();
    }
}

/// The input that a step puts a layer on.
pub(crate) fn base(vertex: &Vertex) -> Option<u32> {
    match &vertex.op {
        Op::Exec(exec) => exec.mounts.first().and_then(Mount::input),
        Op::File(file) => match file.actions.first().map(FileAction::input) {
            Some(ActionInput::Input(input)) => Some(input),
            _ => None,
        },
        Op::Source(_) | Op::Merge(_) | Op::Diff(_) => None,
    }
}
