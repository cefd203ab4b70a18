//! The documents of the Engine API, as they are on the wire: one file a topic.

pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod system;
pub(crate) mod volume;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// The object without keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// Labels and the like.
pub(crate) type Map = BTreeMap<String, String>;

/// `{"Id": …}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) warnings: Vec<String>,
}

/// Go writes `null` for what is empty.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
