//! The history of an image: a time for each entry, and as many entries that make a layer as there are layers.

use kiln_cache::Store;
use kiln_oci::{ChainId, DiffId, History, ImageConfig, chain_ids};

use super::time;
use crate::error::Cause;

/// Fills in what the build left open in the history of an image with these layers. A layer's time is when it was made, so
/// that a build that was remembered gives the same image; `epoch` replaces all times that are missing.
pub(super) fn complete(
    store: &Store,
    config: &ImageConfig,
    diff_ids: &[DiffId],
    epoch: Option<i64>,
) -> Result<Vec<History>, Cause> {
    let mut chains = chain_ids(diff_ids).into_iter().zip(diff_ids);
    let mut last = config.created.clone();
    let mut history = config.history.clone();
    for entry in &mut history {
        let chain = if entry.empty_layer { None } else { chains.next() };
        if entry.created.is_none() {
            entry.created = match (epoch, chain) {
                (Some(epoch), _) => Some(time::of_epoch(epoch)),
                (None, Some((chain, diff_id))) => made(store, &chain, diff_id)?.or(last),
                (None, None) => last,
            };
        }
        last = entry.created.clone();
    }
    // A base may say less of its history than it has layers; readers match the two by counting.
    let missing = chains.map(|_| History { created: last.clone(), ..History::default() });
    Ok(history.iter().cloned().chain(missing).collect())
}

/// The history after all layers from `kept` on became one: what they were made by stays, as Docker's `--squash` leaves it, as
/// entries without a layer, and a last one stands for the layer.
pub(super) fn squash(history: &mut Vec<History>, kept: usize, diff_ids: &[DiffId]) {
    let with_layer = history.iter_mut().filter(|entry| !entry.empty_layer);
    with_layer.skip(kept).for_each(|entry| entry.empty_layer = true);
    let top = ChainId::of(diff_ids).map(|chain| chain.to_string()).unwrap_or_default();
    let below = ChainId::of(&diff_ids[..kept]).map(|chain| format!(" to {chain}")).unwrap_or_default();
    history.push(History {
        created: history.last().and_then(|entry| entry.created.clone()),
        comment: Some(format!("merge {top}{below}")),
        ..History::default()
    });
}

/// When a layer was made: what was made on nothing and put here later was made then.
fn made(store: &Store, chain: &ChainId, diff_id: &DiffId) -> Result<Option<String>, Cause> {
    Ok(store.layers.made(chain, diff_id)?.map(time::rfc3339))
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    #[test]
    fn one_entry_stands_for_the_layers_that_became_one() {
        let entry = |text: &str, empty_layer| History {
            created: Some("1970-01-01T00:00:01Z".to_owned()),
            created_by: Some(text.to_owned()),
            empty_layer,
            ..History::default()
        };
        let mut history =
            vec![entry("base", false), entry("ENV", true), entry("RUN 1", false), entry("RUN 2", false)];
        let diff_ids: Vec<DiffId> = ["a", "b", "c"].map(|text| DiffId(Digest::of(text.as_bytes()))).into();
        squash(&mut history, 1, &diff_ids);
        let empty: Vec<bool> = history.iter().map(|entry| entry.empty_layer).collect();
        assert_eq!(empty, [false, true, true, true, false]);
        let last = history.last().unwrap();
        assert!(last.comment.as_deref().unwrap().starts_with("merge sha256:"));
        assert_eq!(last.created.as_deref(), Some("1970-01-01T00:00:01Z"));
        squash(&mut history, 0, &diff_ids);
        assert_eq!(history.iter().filter(|entry| !entry.empty_layer).count(), 1);
    }
}
