//! The steps of a build as a list, and the lines of the Dockerfile that they are.

use std::collections::HashMap;

use kiln_graph::{Definition, Edge, VertexId};
use serde_json::{Map, Value, json};

use super::op;

/// Every step that `root` needs, inputs before users; a step names its inputs as `step0:0`, step and output.
pub(super) fn steps(definition: &Definition, root: Option<Edge>) -> Value {
    let numbers = numbers(definition, root);
    let step = |id: &VertexId| {
        let vertex = definition.vertex(*id);
        let mut step = Map::new();
        step.insert("id".to_owned(), name(numbers[id]).into());
        step.insert("op".to_owned(), op::value(&vertex.op, vertex.inputs.len()));
        let input = |edge: &Edge| format!("{}:{}", name(numbers[&edge.vertex]), edge.output);
        if !vertex.inputs.is_empty() {
            step.insert("inputs".to_owned(), vertex.inputs.iter().map(input).collect());
        }
        Value::from(step)
    };
    needed(definition, root).iter().map(step).collect()
}

/// The first and last line of each step that has some.
pub(super) fn locations(definition: &Definition, root: Option<Edge>) -> Value {
    let location = |(number, id): (usize, VertexId)| {
        let (first, last) = definition.vertex(id).meta.span?;
        let range = json!({ "start": { "line": first }, "end": { "line": last } });
        Some((name(number), json!({ "locations": [{ "ranges": [range] }] })))
    };
    let all: Map<String, Value> =
        needed(definition, root).into_iter().enumerate().filter_map(location).collect();
    all.into()
}

pub(super) fn needed(definition: &Definition, root: Option<Edge>) -> Vec<VertexId> {
    root.map(|root| definition.reachable(&[root])).unwrap_or_default()
}

fn numbers(definition: &Definition, root: Option<Edge>) -> HashMap<VertexId, usize> {
    needed(definition, root).into_iter().enumerate().map(|(number, id)| (id, number)).collect()
}

fn name(number: usize) -> String {
    format!("step{number}")
}
