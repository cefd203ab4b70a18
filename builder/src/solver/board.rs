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
    /// How many have yet to take a result; after the last it is let go, so that a long build holds few.
    takers: HashMap<VertexId, usize>,
}

impl Board {
    pub(super) fn new(job: &Job, found: Found) -> Board {
        let mut board = Board {
            done: found.hits,
            ready: Vec::new(),
            waiting: HashMap::new(),
            users: HashMap::new(),
            takers: HashMap::new(),
        };
        job.roots.iter().for_each(|root| *board.takers.entry(root.vertex).or_default() += 1);
        for id in found.missed {
            let inputs = distinct_inputs(job, id);
            inputs.iter().for_each(|input| *board.takers.entry(*input).or_default() += 1);
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

    /// The inputs of a step that starts now.
    pub(super) fn take_inputs(&mut self, job: &Job, id: VertexId) -> Vec<Value> {
        let values = job.vertex(id).inputs.iter().map(|edge| self.value(*edge)).collect();
        for input in distinct_inputs(job, id) {
            let Some(count) = self.takers.get_mut(&input) else { continue };
            *count -= 1;
            if *count == 0 {
                self.done.remove(&input);
            }
        }
        values
    }

    pub(super) fn value(&self, edge: Edge) -> Value {
        let output = self.done.get(&edge.vertex).and_then(|outputs| outputs.get(edge.output as usize));
        output.cloned().unwrap_or_else(|| Value::Layers(Layers::scratch()))
    }
}

fn distinct_inputs(job: &Job, id: VertexId) -> BTreeSet<VertexId> {
    job.vertex(id).inputs.iter().map(|edge| edge.vertex).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kiln_graph::{Definition, ExecOp, Op, VertexMeta};
    use kiln_oci::Platform;
    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::progress::Silent;
    use crate::session::Session;

    /// Each step on the one before; the first and the last are wanted.
    fn chain(length: usize) -> (Job, Vec<VertexId>) {
        let mut graph = Definition::new();
        let mut ids: Vec<VertexId> = Vec::new();
        for number in 0..length {
            let inputs: Vec<Edge> = ids.last().iter().map(|id| id.output()).collect();
            let root = (!inputs.is_empty()).then_some(0);
            let exec = ExecOp::new(vec![number.to_string()], Platform::new("linux", "amd64", None), root);
            ids.push(graph.add(Op::Exec(exec), inputs, VertexMeta::named("step")).unwrap());
        }
        let job = Job {
            definition: Arc::new(graph),
            ops: Vec::new(),
            roots: vec![ids[0].output(), ids[length - 1].output()],
            session: Session::empty(),
            progress: Arc::new(Silent),
            permits: Arc::new(Semaphore::new(1)),
            no_cache: false,
            explain: false,
            cancel: CancellationToken::new(),
        };
        (job, ids)
    }

    #[test]
    fn a_result_is_kept_as_long_as_somebody_wants_it() {
        let (job, ids) = chain(4);
        let missed = ids.iter().copied().collect();
        let mut board = Board::new(&job, Found { missed, ..Found::default() });
        for id in &ids {
            assert_eq!(std::mem::take(&mut board.ready), [*id]);
            assert_eq!(board.take_inputs(&job, *id).len(), usize::from(*id != ids[0]));
            board.done(*id, Arc::new([Value::Layers(Layers::scratch())]));
        }
        let mut kept: Vec<VertexId> = board.done.keys().copied().collect();
        kept.sort();
        assert_eq!(kept, [ids[0], ids[3]]);
    }
}
