//! Makes what is to be said about one image.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_cache::Store;
use kiln_graph::{Definition, Edge};
use kiln_oci::{Platform, Reference};
use serde_json::Value;
use serde_json::value::RawValue;

use super::purl::Purl;
use super::statement::{MAX_PREDICATE, PROVENANCE, SPDX};
use super::{Attest, Attestation, SBOM_FILE};
use crate::error::Cause;
use crate::export::rfc3339;
use crate::materials::Materials;
use crate::provenance::{Facts, Run, predicate};
use crate::sbom::scan::{Inventory, scan};
use crate::sbom::spdx::{self, Subject};
use crate::value::Layers;
use crate::workspace::View;

/// The part of a build's graph that an image was made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made<'a> {
    /// The graph.
    pub(crate) definition: &'a Definition,
    /// The image's place in it.
    pub(crate) root: Option<Edge>,
    /// What sources were found to be.
    pub(crate) materials: &'a Materials,
    /// Replaces all times, in seconds.
    pub(crate) epoch: Option<i64>,
}

/// How the image came to be, where that is asked for.
pub(crate) fn provenance(attest: &Attest, made: Made<'_>) -> Result<Option<Attestation>, Cause> {
    let Some(wanted) = &attest.provenance else { return Ok(None) };
    let run = run(attest, made.epoch, wanted.options.reproducible);
    let Made { definition, root, materials, .. } = made;
    let (request, builder) = (&attest.request, &Platform::host());
    let value =
        predicate(Facts { request, definition, root, builder, materials, run: &run }, &wanted.options);
    Ok(Some(Attestation {
        predicate_type: PROVENANCE,
        predicate: raw("provenance", &value)?,
        file: wanted.file.clone(),
        inline_only: wanted.inline_only,
    }))
}

/// When the build ran, as far as the result may differ by it.
fn run(attest: &Attest, epoch: Option<i64>, reproducible: bool) -> Run {
    let time = epoch.map(of_epoch);
    match &attest.invocation {
        _ if time.is_some() || reproducible => Run { id: None, started: time, finished: time },
        Some((id, started)) => {
            Run { id: Some(id.clone()), started: Some(*started), finished: Some(SystemTime::now()) }
        }
        None => Run::default(),
    }
}

fn of_epoch(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// What the image consists of; its layers must be unpacked. What was not read comes back too, for people.
pub(crate) fn sbom(
    store: &Arc<Store>,
    attest: &Attest,
    layers: &Layers,
    platform: &Platform,
    epoch: Option<i64>,
) -> Result<(Attestation, Vec<String>), Cause> {
    let inventory = match layers.chain_id() {
        Some(_) => scan(&View::of(store, layers)?.root()?)?,
        None => Inventory::default(),
    };
    let created = match epoch {
        Some(epoch) => Some(of_epoch(epoch)),
        None => made(store, layers)?,
    };
    let content = layers.digest();
    let name = attest.names.first();
    let subject = Subject {
        name: name.map_or_else(|| content.to_string(), Reference::familiar),
        purl: name.map(|name| Purl::of_image(name, Some(platform))),
        content,
        created: rfc3339(created.unwrap_or(UNIX_EPOCH)),
    };
    let document = spdx::document(&subject, &inventory);
    let predicate = raw("list of packages", &document)?;
    let file = SBOM_FILE.to_owned();
    Ok((Attestation { predicate_type: SPDX, predicate, file, inline_only: false }, inventory.notes))
}

/// When the newest layer was made: the same for a build that was remembered.
fn made(store: &Store, layers: &Layers) -> Result<Option<SystemTime>, Cause> {
    let diff_ids = layers.diff_ids();
    let (Some(chain), Some(top)) = (layers.chain_id(), diff_ids.last()) else { return Ok(None) };
    Ok(store.layers.made(&chain, top)?)
}

/// What is said, as bytes. `what` it is called; one that nobody would read is refused.
fn raw(what: &str, value: &Value) -> Result<Box<RawValue>, Cause> {
    let raw = serde_json::value::to_raw_value(value)
        .map_err(|error| Cause::Invalid(format!("write the {what}: {error}")))?;
    let (length, most) = (raw.get().len() as u64, MAX_PREDICATE >> 20);
    if length > MAX_PREDICATE {
        let length = length.div_ceil(1 << 20);
        return Err(Cause::Invalid(format!(
            "the {what} has {length} MiB, and one of more than {most} MiB is not read by those who verify it"
        )));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_would_read_is_not_written() {
        let text = |length: u64| Value::from("x".repeat(usize::try_from(length).unwrap()));
        raw("list of packages", &text(MAX_PREDICATE - 2)).unwrap();
        let error = raw("list of packages", &text(MAX_PREDICATE)).unwrap_err();
        let expected =
            "the list of packages has 64 MiB, and one of more than 63 MiB is not read by those who verify it";
        assert_eq!(error.to_string(), expected);
    }
}
