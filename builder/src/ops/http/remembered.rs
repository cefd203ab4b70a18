//! What servers answered before: a build record under the URL, its parts the validators.

use kiln_cache::{Part, Record};
use kiln_graph::url::redact;
use kiln_oci::Digest;
use kiln_registry_client::Validators;

use super::{Fetched, HttpOp, Wanted};
use crate::error::Cause;
use crate::solver::blocking;
use crate::value::Layers;

const DIGEST: &str = "digest";
const ETAG: &str = "etag";
const MODIFIED: &str = "last-modified";

impl HttpOp {
    /// What the answers of a server are remembered under.
    pub(super) fn record_key(&self) -> Digest {
        let Wanted { url, checksum: _, filename, mode, owner } = &self.wanted;
        let mode = mode.as_ref().map(ToString::to_string);
        Digest::of(format!("answer {:?} {filename:?} {mode:?} {owner:?}", redact(url)).as_bytes())
    }

    /// The file as it was last time.
    pub(super) async fn known(&self) -> Result<Option<Fetched>, Cause> {
        let (stores, key) = (self.stores.clone(), self.record_key());
        let record = blocking(move || Ok(stores.store.records.lookup(&key)?)).await?;
        Ok(record.and_then(fetched_of))
    }

    /// Remembers the file, where the server can say next time that it is still the same.
    pub(super) async fn remember(&self, fetched: Fetched) -> Result<Fetched, Cause> {
        if fetched.validators.is_empty() {
            return Ok(fetched);
        }
        let part = |name: &str, value: &str| Part { name: name.to_owned(), value: value.to_owned() };
        let Validators { etag, last_modified } = &fetched.validators;
        let digest = Some(part(DIGEST, fetched.digest.as_str()));
        let etag = etag.as_ref().map(|etag| part(ETAG, etag));
        let modified = last_modified.as_ref().map(|date| part(MODIFIED, date));
        let record = Record {
            layers: fetched.layers.to_vec(),
            scope: redact(&self.wanted.url),
            parts: [digest, etag, modified].into_iter().flatten().collect(),
        };
        let (stores, key) = (self.stores.clone(), self.record_key());
        blocking(move || Ok(stores.store.records.save(&key, &record)?)).await?;
        Ok(fetched)
    }
}

fn fetched_of(record: Record) -> Option<Fetched> {
    let part = |name: &str| record.parts.iter().find(|part| part.name == name).map(|part| part.value.clone());
    let digest = part(DIGEST)?.parse().ok()?;
    let validators = Validators { etag: part(ETAG), last_modified: part(MODIFIED) };
    Some(Fetched { digest, validators, layers: Layers::new(record.layers) })
}
