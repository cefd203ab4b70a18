//! What the solver remembers, in the store's build cache.

use std::ops::ControlFlow;
use std::sync::Arc;

use kiln_cache::{Part, Record, Store};
use kiln_oci::DiffId;
use kiln_snapshot::compare::compare;

use crate::error::Cause;
use crate::explain::{self, Explanation, Likeness};
use crate::key::{CacheKey, KeyParts};
use crate::solver::{NewRecord, Records};
use crate::value::Layers;

/// How many remembered steps one is compared with.
const MAX_CANDIDATES: usize = 64;
/// How many files that changed are found.
const MAX_CHANGED: usize = 1000;

/// Remembers in a store.
#[derive(Debug)]
pub struct StoreRecords {
    store: Arc<Store>,
}

impl StoreRecords {
    /// The records of `store`.
    pub fn new(store: Arc<Store>) -> Self {
        StoreRecords { store }
    }
}

impl Records for StoreRecords {
    fn lookup(&self, key: &CacheKey, outputs: u32) -> Result<Option<Vec<Layers>>, Cause> {
        let mut found = Vec::new();
        for output in 0..outputs {
            match self.store.records.lookup(&key.output(output))? {
                Some(record) => found.push(Layers::new(record.layers)),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    fn save(&self, record: &NewRecord<'_>) -> Result<(), Cause> {
        let NewRecord { definition, content, name, likeness, outputs } = record;
        for (output, layers) in (0..).zip(*outputs) {
            let saved = Record {
                layers: layers.to_vec(),
                scope: (*name).to_owned(),
                parts: parts(definition.1).chain(likeness.parts.iter().cloned()).collect(),
            };
            let key = content.0.output(output);
            self.store.records.save_as(&key, &saved, &definition.0.output(output))?;
        }
        Ok(())
    }

    fn explain(&self, name: &str, step: &Likeness) -> Result<Option<Explanation>, Cause> {
        let candidates = self.store.records.similar(explain::place_of(name), MAX_CANDIDATES)?;
        Ok(Some(step.explain(&candidates)))
    }

    fn changed_files(&self, earlier: &Record, now: &Layers) -> Result<Vec<String>, Cause> {
        let earlier: Vec<DiffId> = earlier.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let now = now.diff_ids();
        let (Some(then), Some(top)) = (earlier.len().checked_sub(1), now.len().checked_sub(1)) else {
            return Ok(Vec::new());
        };
        let layers = &self.store.layers;
        let (first, second) = (layers.open_tar(&earlier, then)?, layers.open_tar(&now, top)?);
        let mut paths: Vec<String> = Vec::new();
        compare(first, second, None, |difference| {
            if !difference.attribute.is_time() && paths.last() != Some(&difference.path) {
                paths.push(difference.path);
            }
            match paths.len() < MAX_CHANGED {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        Ok(paths)
    }
}

/// The parts of a key by name, for explanations.
fn parts(key: &KeyParts) -> impl Iterator<Item = Part> {
    let kind = key.kind.name();
    let op = Part { name: format!("{kind}: operation"), value: key.op.to_string() };
    let input = move |(number, digest): (usize, &kiln_oci::Digest)| Part {
        name: format!("{kind}: input {number}"),
        value: digest.to_string(),
    };
    std::iter::once(op).chain(key.inputs.iter().enumerate().map(input))
}
