//! The op that is the difference of two filesystems, as layers that lead from one to the other.

use std::io::Write;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kiln_cache::{LayerRef, Resource};
use kiln_graph::DiffOp;
use kiln_oci::{Descriptor, DiffId, Digest, MediaType};
use kiln_snapshot::{TarOptions, diff_trees, write_tar};

use super::{Digests, Op, merge};
use crate::error::Cause;
use crate::flight::Crowd;
use crate::pull;
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::{Layers, Value};
use crate::workspace::View;

/// What leads from one input to the other.
#[derive(Debug)]
pub struct Diff {
    stores: Arc<Stores>,
    op: DiffOp,
    digests: Digests,
}

impl Diff {
    /// The difference that `op` names.
    pub fn new(stores: Arc<Stores>, op: DiffOp, digests: Digests) -> Self {
        Diff { stores, op, digests }
    }
}

impl Op for Diff {
    fn definition(&self) -> Digest {
        self.digests.definition.clone()
    }

    fn run<'a>(&'a self, inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async move {
            let (lower, upper) = (side(&inputs, self.op.lower)?, side(&inputs, self.op.upper)?);
            for layers in [&lower, &upper] {
                pull::unpack(&self.stores, layers, crowd).await?;
            }
            let stores = self.stores.clone();
            let difference = blocking(move || match upper.diff_ids().starts_with(&lower.diff_ids()) {
                true => above(&stores, lower.stack().len(), &upper),
                false => compared(&stores, &lower, &upper),
            });
            Ok(vec![Value::Layers(difference.await?)])
        })
    }
}

fn side(inputs: &[Value], index: Option<u32>) -> Result<Layers, Cause> {
    let Some(index) = index else { return Ok(Layers::scratch()) };
    match inputs.get(index as usize) {
        Some(Value::Layers(layers)) => Ok(layers.clone()),
        _ => Err(Cause::Invalid("a difference needs two filesystems".to_owned())),
    }
}

/// The layers that were put on `below` others.
fn above(stores: &Stores, below: usize, upper: &Layers) -> Result<Layers, Cause> {
    let lease = Arc::new(stores.store.leases.create()?);
    merge::make_free(stores, &lease, upper, below)?;
    Ok(upper.above(below, lease))
}

/// One layer of all that differs between two filesystems that have nothing to do with each other.
fn compared(stores: &Stores, lower: &Layers, upper: &Layers) -> Result<Layers, Cause> {
    let store = &stores.store;
    let (old, new) = (View::of(store, lower)?, View::of(store, upper)?);
    let (old, new) = (old.root()?, new.root()?);
    let mut blob = store.content.ingest()?;
    write_tar(&diff_trees(Some(&old), &new)?, &new, &mut blob, &TarOptions::default())?;
    blob.flush().map_err(Cause::io("write a layer"))?;
    let lease = Arc::new(store.leases.create()?);
    lease.hold(&Resource::Blob(blob.digest()))?;
    let info = blob.commit(None)?;
    let diff_id = DiffId(info.digest.clone());
    let media_type = MediaType::new(MediaType::OCI_LAYER);
    store.layers.add_blob(&diff_id, &Descriptor::new(media_type, info.digest, info.size))?;
    Ok(Layers::new(vec![LayerRef { diff_id, size: info.size }]).above(0, lease))
}
