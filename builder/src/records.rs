//! What the solver remembers, in the store's build cache.

use std::sync::Arc;

use kiln_cache::{Part, Record, Store};

use crate::error::Cause;
use crate::key::{CacheKey, KeyParts};
use crate::solver::{NewRecord, Records};
use crate::value::Layers;

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
        let NewRecord { definition, content, name, outputs } = record;
        for (output, layers) in (0..).zip(*outputs) {
            let saved = Record {
                layers: layers.to_vec(),
                scope: (*name).to_owned(),
                parts: parts(definition.1).chain(parts(content.1)).collect(),
            };
            let key = content.0.output(output);
            self.store.records.save_as(&key, &saved, &definition.0.output(output))?;
        }
        Ok(())
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
