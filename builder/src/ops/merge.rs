//! The op that lays filesystems over each other without reading any of them: the layers of each on the layers of the one
//! before.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use kiln_cache::Lease;
use kiln_oci::Digest;

use super::{Digests, Op};
use crate::error::Cause;
use crate::flight::Crowd;
use crate::pull;
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::{Layers, Value};

/// Lays its inputs over each other, lowest first.
#[derive(Debug)]
pub struct Merge {
    stores: Arc<Stores>,
    digests: Digests,
}

impl Merge {
    /// The merge whose op has `digests`.
    pub fn new(stores: Arc<Stores>, digests: Digests) -> Self {
        Merge { stores, digests }
    }
}

impl Op for Merge {
    fn definition(&self) -> Digest {
        self.digests.definition.clone()
    }

    fn run<'a>(&'a self, inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async move {
            let mut merged = Layers::scratch();
            for input in inputs {
                let Value::Layers(top) = input else {
                    return Err(Cause::Invalid("a local context cannot be merged".to_owned()));
                };
                if merged.stack().is_empty() {
                    merged = top;
                    continue;
                }
                // What lies below is not even fetched, and what is here in any form is not unpacked.
                let (store, layers) = (self.stores.store.clone(), top.clone());
                if !blocking(move || Ok(store.layers.is_available(layers.stack())?)).await? {
                    pull::unpack(&self.stores, &top, crowd).await?;
                }
                let stores = self.stores.clone();
                merged = blocking(move || over(&stores, &merged, &top)).await?;
            }
            Ok(vec![Value::Layers(merged)])
        })
    }
}

/// The layers of `top` on those of `base`.
fn over(stores: &Stores, base: &Layers, top: &Layers) -> Result<Layers, Cause> {
    let lease = Arc::new(stores.store.leases.create()?);
    make_free(stores, &lease, top, 0)?;
    stores.store.layers.stack(&base.diff_ids(), top.stack())?;
    Ok(base.stacked(&top.above(0, lease)))
}

/// Gives each layer from `first` on a form that does not depend on those below it.
pub(super) fn make_free(stores: &Stores, lease: &Lease, layers: &Layers, first: usize) -> Result<(), Cause> {
    let ids = layers.diff_ids();
    (first..ids.len()).try_for_each(|index| Ok(stores.store.layers.make_free(lease, &ids, index)?))
}
