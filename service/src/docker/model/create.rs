//! `POST /containers/create`: what a container is to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map as Object, Value};

use super::{Empty, Map, or_default};

/// The body. What kiln does not look at by name is in `other`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Create {
    #[serde(deserialize_with = "or_default")]
    pub(crate) image: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) hostname: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "words")]
    pub(crate) cmd: Vec<String>,
    #[serde(deserialize_with = "words")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: Map,
    #[serde(deserialize_with = "or_default")]
    pub(crate) volumes: BTreeMap<String, Empty>,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stop_signal: Option<String>,
    pub(crate) stop_timeout: Option<i64>,
    pub(crate) healthcheck: Option<Health>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    pub(crate) networking_config: Networking,
    #[serde(flatten)]
    pub(crate) other: Object<String, Value>,
}

/// How the program is asked whether it is well; times in nanoseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Health {
    #[serde(deserialize_with = "or_default")]
    pub(crate) test: Vec<String>,
    pub(crate) interval: u64,
    pub(crate) timeout: u64,
    pub(crate) start_period: u64,
    pub(crate) start_interval: u64,
    pub(crate) retries: u32,
}

/// What a container has of its host.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostConfig {
    #[serde(deserialize_with = "or_default")]
    pub(crate) binds: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) mounts: Vec<Mount>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tmpfs: Map,
    #[serde(deserialize_with = "or_default")]
    pub(crate) network_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
    pub(crate) publish_all_ports: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) restart_policy: RestartPolicy,
    pub(crate) auto_remove: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cap_add: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cap_drop: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) privileged: bool,
    pub(crate) readonly_rootfs: bool,
    pub(crate) memory: u64,
    pub(crate) nano_cpus: u64,
    pub(crate) cpu_period: u64,
    pub(crate) cpu_quota: i64,
    pub(crate) pids_limit: Option<i64>,
    pub(crate) cgroup_parent: String,
    pub(crate) init: Option<bool>,
    #[serde(flatten)]
    pub(crate) other: Object<String, Value>,
}

/// A mount.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Mount {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) bind_options: Option<BindOptions>,
    pub(crate) volume_options: Option<VolumeOptions>,
    pub(crate) tmpfs_options: Option<TmpfsOptions>,
}

/// What a bind mount may say beside.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct BindOptions {
    pub(crate) propagation: String,
    pub(crate) create_mountpoint: bool,
}

/// What the mount of a volume may say beside.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct VolumeOptions {
    pub(crate) no_copy: bool,
    pub(crate) subpath: String,
}

/// What a mount of memory may say beside.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TmpfsOptions {
    pub(crate) size_bytes: Option<u64>,
    pub(crate) mode: Option<u32>,
}

/// A port of the host.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PortBinding {
    #[serde(deserialize_with = "or_default")]
    pub(crate) host_ip: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) host_port: String,
}

/// What happens when the program ends.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RestartPolicy {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    pub(crate) maximum_retry_count: u32,
}

/// The networks that a container is to be in.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Networking {
    #[serde(deserialize_with = "or_default")]
    pub(crate) endpoints_config: BTreeMap<String, Value>,
}

/// A list of words, or one word by itself.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::<Words>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::Many(words)) => words,
    })
}
