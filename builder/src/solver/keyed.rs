//! Definition keys: each vertex's op over the keys of what it works on.

use std::collections::HashMap;

use kiln_graph::VertexId;
use kiln_oci::Digest;

use super::Job;
use crate::key::{CacheKey, KeyKind, KeyParts};
use crate::ops::Pin;
use crate::value::Value;

/// The definition keys of a job, and what they were made from.
pub(super) struct Keyed {
    pub(super) vertices: HashMap<VertexId, KeyedVertex>,
    pub(super) pins: HashMap<VertexId, Pin>,
    pub(super) selected: HashMap<(VertexId, usize), Digest>,
}

pub(super) struct KeyedVertex {
    pub(super) parts: KeyParts,
    pub(super) key: CacheKey,
    /// Whether it must run anew, whatever is remembered.
    pub(super) fresh: bool,
    /// Whether something below it must; a result by definition would then leave that out.
    pub(super) tainted: bool,
}

impl Keyed {
    pub(super) fn fold(
        job: &Job,
        needed: &[VertexId],
        pins: HashMap<VertexId, Pin>,
        selected: HashMap<(VertexId, usize), Digest>,
    ) -> Keyed {
        let mut keyed = Keyed { vertices: HashMap::with_capacity(needed.len()), pins, selected };
        for id in needed {
            let vertex = keyed.fold_one(job, *id);
            keyed.vertices.insert(*id, vertex);
        }
        keyed
    }

    pub(super) fn fold_one(&self, job: &Job, id: VertexId) -> KeyedVertex {
        let vertex = job.vertex(id);
        let is_source = vertex.inputs.is_empty() && self.pins.contains_key(&id);
        let fresh = !is_source && (job.no_cache || vertex.meta.ignore_cache);
        let mut tainted = fresh;
        let mut inputs = Vec::with_capacity(vertex.inputs.len());
        for (number, edge) in vertex.inputs.iter().enumerate() {
            let below = &self.vertices[&edge.vertex];
            tainted |= below.tainted;
            inputs.push(match self.selected.get(&(id, number)) {
                Some(digest) => digest.clone(),
                None => below.key.output(edge.output),
            });
        }
        let parts = match self.pins.get(&id) {
            Some(pin) => KeyParts { kind: KeyKind::Source, op: pin.identity.clone(), inputs },
            None => KeyParts { kind: KeyKind::Definition, op: job.ops[id.index()].definition(), inputs },
        };
        let key = parts.key();
        KeyedVertex { parts, key, fresh, tainted }
    }

    pub(super) fn value(&self, id: VertexId) -> Option<Value> {
        self.pins.get(&id)?.value.clone()
    }
}
