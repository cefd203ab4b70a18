//! Containers, as lists and `inspect` show them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Empty, Map};

/// A line of `GET /containers/json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) names: Vec<String>,
    pub(crate) image: String,
    #[serde(rename = "ImageID")]
    pub(crate) image_id: String,
    pub(crate) command: String,
    pub(crate) created: i64,
    pub(crate) ports: Vec<Port>,
    /// Bytes that it wrote, and of all that it sees, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size_root_fs: Option<u64>,
    pub(crate) labels: Map,
    pub(crate) state: &'static str,
    pub(crate) status: String,
    pub(crate) host_config: SummaryHostConfig,
    pub(crate) network_settings: SummaryNetworks,
    pub(crate) mounts: Vec<Mount>,
}

/// A port.
#[derive(Debug, Serialize)]
pub(crate) struct Port {
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none")]
    pub(crate) ip: Option<String>,
    #[serde(rename = "PrivatePort")]
    pub(crate) private: u16,
    #[serde(rename = "PublicPort", skip_serializing_if = "Option::is_none")]
    pub(crate) public: Option<u16>,
    #[serde(rename = "Type")]
    pub(crate) kind: String,
}

/// The network that a container is in.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SummaryHostConfig {
    pub(crate) network_mode: &'static str,
}

/// The networks of a container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SummaryNetworks {
    pub(crate) networks: BTreeMap<&'static str, Endpoint>,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Endpoint {
    #[serde(rename = "NetworkID")]
    pub(crate) network_id: String,
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint_id: String,
    #[serde(rename = "Gateway")]
    pub(crate) gateway: String,
    #[serde(rename = "IPAddress")]
    pub(crate) ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub(crate) ip_prefix_len: u8,
    #[serde(rename = "MacAddress")]
    pub(crate) mac_address: String,
    #[serde(rename = "Aliases")]
    pub(crate) aliases: Vec<String>,
}

/// A mount.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Mount {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) source: String,
    pub(crate) destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) driver: Option<&'static str>,
    pub(crate) mode: &'static str,
    #[serde(rename = "RW")]
    pub(crate) rw: bool,
    pub(crate) propagation: &'static str,
}

/// `GET /containers/{id}/json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    pub(crate) id: String,
    pub(crate) created: String,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    pub(crate) state: State,
    pub(crate) image: String,
    pub(crate) resolv_conf_path: String,
    pub(crate) hostname_path: String,
    pub(crate) hosts_path: String,
    pub(crate) log_path: String,
    pub(crate) name: String,
    pub(crate) restart_count: u32,
    pub(crate) driver: &'static str,
    pub(crate) platform: &'static str,
    pub(crate) mount_label: &'static str,
    pub(crate) process_label: &'static str,
    pub(crate) app_armor_profile: &'static str,
    #[serde(rename = "ExecIDs")]
    pub(crate) exec_ids: Option<Vec<String>>,
    pub(crate) host_config: HostConfig,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) config: Config,
    pub(crate) network_settings: NetworkSettings,
}

/// Where a container is in its life.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    pub(crate) status: &'static str,
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub(crate) oom_killed: bool,
    pub(crate) dead: bool,
    pub(crate) pid: u32,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
    pub(crate) started_at: String,
    pub(crate) finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
}

/// Whether a program is well.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    pub(crate) status: &'static str,
    pub(crate) failing_streak: u32,
    pub(crate) log: Vec<HealthResult>,
}

/// What a check found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HealthResult {
    pub(crate) start: String,
    pub(crate) end: String,
    pub(crate) exit_code: i32,
    pub(crate) output: String,
}

/// What a container is, wherever it runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Config {
    pub(crate) hostname: String,
    pub(crate) domainname: &'static str,
    pub(crate) user: String,
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) exposed_ports: BTreeMap<String, Empty>,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) env: Vec<String>,
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthcheck: Option<Healthcheck>,
    pub(crate) image: String,
    pub(crate) volumes: Option<BTreeMap<String, Empty>>,
    pub(crate) working_dir: String,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) on_build: Option<Vec<String>>,
    pub(crate) labels: Map,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_timeout: Option<u64>,
}

/// How a program is asked whether it is well; times in nanoseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Healthcheck {
    pub(crate) test: Vec<String>,
    pub(crate) interval: u128,
    pub(crate) timeout: u128,
    pub(crate) start_period: u128,
    pub(crate) retries: u32,
}

/// What a container has of its host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HostConfig {
    pub(crate) binds: Option<Vec<String>>,
    pub(crate) log_config: LogConfig,
    pub(crate) network_mode: &'static str,
    pub(crate) port_bindings: BTreeMap<String, Vec<PortBinding>>,
    pub(crate) restart_policy: RestartPolicy,
    pub(crate) auto_remove: bool,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) privileged: bool,
    pub(crate) publish_all_ports: bool,
    pub(crate) readonly_rootfs: bool,
    pub(crate) memory: u64,
    pub(crate) nano_cpus: u64,
    pub(crate) pids_limit: Option<i64>,
    pub(crate) cgroup_parent: String,
    pub(crate) init: bool,
    pub(crate) runtime: &'static str,
    pub(crate) shm_size: u64,
}

/// Where a log goes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LogConfig {
    #[serde(rename = "Type")]
    pub(crate) kind: &'static str,
    pub(crate) config: Empty,
}

/// A port of the host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PortBinding {
    pub(crate) host_ip: String,
    pub(crate) host_port: String,
}

/// What happens when the program ends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RestartPolicy {
    pub(crate) name: &'static str,
    pub(crate) maximum_retry_count: u32,
}

/// A container's network while it runs.
#[derive(Debug, Serialize)]
pub(crate) struct NetworkSettings {
    #[serde(rename = "Ports")]
    pub(crate) ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    #[serde(rename = "IPAddress")]
    pub(crate) ip_address: String,
    #[serde(rename = "Gateway")]
    pub(crate) gateway: String,
    #[serde(rename = "Networks")]
    pub(crate) networks: BTreeMap<&'static str, Endpoint>,
}

/// `GET /containers/{id}/top`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Top {
    pub(crate) titles: Vec<String>,
    pub(crate) processes: Vec<Vec<String>>,
}

/// `POST /containers/{id}/wait`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Waited {
    pub(crate) status_code: i32,
}

/// `POST /containers/prune`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    pub(crate) containers_deleted: Vec<String>,
    pub(crate) space_reclaimed: u64,
}
