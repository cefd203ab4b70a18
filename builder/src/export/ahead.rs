//! The layers of an export are packed beside each other, and those of a push are sent meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use kiln_oci::{Digest, Reference};
use kiln_registry_client::Pushed;

use super::Built;
use super::layers::{self, Reshape};
use super::options::ImageOptions;
use crate::error::Cause;
use crate::progress::Reporter;
use crate::push::ahead;
use crate::stores::Stores;

/// How many layers are packed and sent at once.
const PARALLEL: usize = 4;

/// Packs the layers that an export will ask for; which of them came to the repository of `target`, and how.
pub(super) async fn pack(
    stores: &Arc<Stores>,
    built: &Arc<Built>,
    options: &ImageOptions,
    target: Option<&Reference>,
    reporter: &Arc<dyn Reporter>,
) -> Result<HashMap<Digest, Pushed>, Cause> {
    let one = |(number, index, reshape): (usize, usize, Reshape)| {
        let (store, built) = (stores.store.clone(), built.clone());
        let item = built.images[number].layers.stack()[index].diff_id.to_string();
        async move {
            let pack = move |watch: &mut dyn FnMut(_)| {
                let layers = &built.images[number].layers;
                layers::ahead(&store, &built.lease, layers, &reshape, index, watch)
            };
            let (packed, pushed) = ahead::pack(stores, target, &item, reporter, pack).await?;
            Ok::<_, Cause>(pushed.map(|pushed| (packed.digest, pushed)))
        }
    };
    let packing = stream::iter(built.packed(options)?).map(one).buffer_unordered(PARALLEL);
    let sent: Vec<Option<(Digest, Pushed)>> = packing.try_collect().await?;
    Ok(sent.into_iter().flatten().collect())
}
