//! What is done, what may start, and what waits for what.

use std::collections::{BTreeSet, HashMap};

use kiln_graph::{Edge, VertexId};

use super::{Job, Outputs};
use crate::value::{Layers, Value};

/// What looking up by definition found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) hits: HashMap<VertexId, Outputs>,
    pub(super) missed: BTreeSet<VertexId>,
}

impl Found {
    pub(super) fn knows(&self, id: VertexId) -> bool {
        self.hits.contains_key(&id) || self.missed.contains(&id)
    }
}

/// Which vertices have their results, and which may start.
pub(super) struct Board {
    pub(super) done: HashMap<VertexId, Outputs>,
    pub(super) ready: Vec<VertexId>,
    pub(super) waiting: HashMap<VertexId, usize>,
    pub(super) users: HashMap<VertexId, Vec<VertexId>>,
}

impl Board {
    pub(super) fn new(job: &Job, found: Found) -> Board {
        let mut board =
            Board { done: found.hits, ready: Vec::new(), waiting: HashMap::new(), users: HashMap::new() };
        for id in found.missed {
            let inputs: BTreeSet<VertexId> = job.vertex(id).inputs.iter().map(|edge| edge.vertex).collect();
            let open: Vec<_> = inputs.into_iter().filter(|input| !board.done.contains_key(input)).collect();
            match open.len() {
                0 => board.ready.push(id),
                count => drop(board.waiting.insert(id, count)),
            }
            open.into_iter().for_each(|input| board.users.entry(input).or_default().push(id));
        }
        board
    }

    pub(super) fn done(&mut self, id: VertexId, outputs: Outputs) {
        self.done.insert(id, outputs);
        for user in self.users.remove(&id).unwrap_or_default() {
            let Some(count) = self.waiting.get_mut(&user) else { continue };
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&user);
                self.ready.push(user);
            }
        }
    }

    pub(super) fn inputs_of(&self, job: &Job, id: VertexId) -> Vec<Value> {
        job.vertex(id).inputs.iter().map(|edge| self.value(*edge)).collect()
    }

    pub(super) fn value(&self, edge: Edge) -> Value {
        let output = self.done.get(&edge.vertex).and_then(|outputs| outputs.get(edge.output as usize));
        output.cloned().unwrap_or_else(|| Value::Layers(Layers::scratch()))
    }
}
