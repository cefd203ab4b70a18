//! Volumes.

use serde::{Deserialize, Serialize};

use super::{Map, or_default};

/// A volume.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Volume {
    pub(crate) created_at: String,
    pub(crate) driver: &'static str,
    pub(crate) labels: Map,
    pub(crate) mountpoint: String,
    pub(crate) name: String,
    pub(crate) options: Option<Map>,
    pub(crate) scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage_data: Option<UsageData>,
}

/// What a volume takes, and how many use it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UsageData {
    pub(crate) size: i64,
    pub(crate) ref_count: i64,
}

/// `GET /volumes`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct List {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) warnings: Vec<String>,
}

/// `POST /volumes/create`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Create {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) driver: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) driver_opts: Map,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: Map,
}

/// `POST /volumes/prune`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    pub(crate) volumes_deleted: Vec<String>,
    pub(crate) space_reclaimed: u64,
}
