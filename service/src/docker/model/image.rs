//! Images.

use kiln_engine::oci::{Descriptor, Platform};
use serde::Serialize;
use serde_json::Value;

use super::Map;

/// A line of `GET /images/json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) containers: i64,
    pub(crate) created: i64,
    pub(crate) id: String,
    pub(crate) labels: Option<Map>,
    pub(crate) parent_id: &'static str,
    pub(crate) repo_digests: Vec<String>,
    pub(crate) repo_tags: Vec<String>,
    pub(crate) shared_size: i64,
    pub(crate) size: u64,
    /// The same, until version 1.43.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) virtual_size: Option<u64>,
}

/// `GET /images/{name}/json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    pub(crate) id: String,
    pub(crate) repo_tags: Vec<String>,
    pub(crate) repo_digests: Vec<String>,
    pub(crate) parent: &'static str,
    pub(crate) comment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    pub(crate) docker_version: &'static str,
    pub(crate) author: String,
    /// The image's own, with the keys that Docker always has.
    pub(crate) config: Value,
    pub(crate) architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    pub(crate) os: String,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) virtual_size: Option<u64>,
    pub(crate) graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    pub(crate) root_fs: RootFs,
    pub(crate) metadata: Metadata,
    pub(crate) descriptor: Descriptor,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifests: Option<Vec<Manifest>>,
}

/// Where files are kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GraphDriver {
    pub(crate) data: Option<Map>,
    pub(crate) name: &'static str,
}

/// The layers of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RootFs {
    #[serde(rename = "Type")]
    pub(crate) kind: &'static str,
    pub(crate) layers: Vec<String>,
}

/// What is known of an image beside itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Metadata {
    pub(crate) last_tag_time: &'static str,
}

/// An entry of an index.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Manifest {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) descriptor: Descriptor,
    pub(crate) available: bool,
    pub(crate) kind: &'static str,
    pub(crate) image_data: ImageData,
}

/// What an image of an index is for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageData {
    pub(crate) platform: Option<Platform>,
}

/// A line of `GET /images/{name}/history`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct History {
    pub(crate) comment: String,
    pub(crate) created: i64,
    pub(crate) created_by: String,
    pub(crate) id: String,
    pub(crate) size: u64,
    pub(crate) tags: Option<Vec<String>>,
}

/// What became of a name or an image.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Removed {
    Untagged(String),
    Deleted(String),
}

/// `POST /images/prune`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    pub(crate) images_deleted: Vec<Removed>,
    pub(crate) space_reclaimed: u64,
}

/// What a push has left at the registry.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pushed {
    pub(crate) tag: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// `GET /distribution/{name}/json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Distribution {
    pub(crate) descriptor: Descriptor,
    pub(crate) platforms: Vec<Platform>,
}
