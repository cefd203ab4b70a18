//! `version`, `info`, `system/df`, `auth`.

use serde::Serialize;

use super::Map;
use super::container::Summary as ContainerSummary;
use super::image::Summary as ImageSummary;
use super::volume::Volume;

/// `GET /version`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    pub(crate) platform: Named,
    pub(crate) components: Vec<Component>,
    pub(crate) version: &'static str,
    pub(crate) api_version: String,
    #[serde(rename = "MinAPIVersion")]
    pub(crate) min_api_version: String,
    pub(crate) git_commit: &'static str,
    pub(crate) go_version: &'static str,
    pub(crate) os: &'static str,
    pub(crate) arch: String,
    pub(crate) kernel_version: String,
    pub(crate) experimental: bool,
    pub(crate) build_time: &'static str,
}

/// Something with a name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Named {
    pub(crate) name: String,
}

/// A part of the daemon.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Component {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) details: Map,
}

/// `GET /info`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Info {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) containers: usize,
    pub(crate) containers_running: usize,
    pub(crate) containers_paused: usize,
    pub(crate) containers_stopped: usize,
    pub(crate) images: usize,
    pub(crate) driver: &'static str,
    pub(crate) driver_status: Vec<[String; 2]>,
    pub(crate) docker_root_dir: String,
    pub(crate) plugins: Plugins,
    pub(crate) memory_limit: bool,
    pub(crate) swap_limit: bool,
    pub(crate) cpu_cfs_period: bool,
    pub(crate) cpu_cfs_quota: bool,
    #[serde(rename = "CPUShares")]
    pub(crate) cpu_shares: bool,
    #[serde(rename = "CPUSet")]
    pub(crate) cpu_set: bool,
    pub(crate) pids_limit: bool,
    #[serde(rename = "IPv4Forwarding")]
    pub(crate) ipv4_forwarding: bool,
    pub(crate) oom_kill_disable: bool,
    pub(crate) debug: bool,
    #[serde(rename = "NFd")]
    pub(crate) fds: usize,
    #[serde(rename = "NGoroutines")]
    pub(crate) threads: usize,
    pub(crate) system_time: String,
    pub(crate) logging_driver: &'static str,
    pub(crate) cgroup_driver: &'static str,
    pub(crate) cgroup_version: String,
    #[serde(rename = "NEventsListener")]
    pub(crate) event_listeners: usize,
    pub(crate) kernel_version: String,
    pub(crate) operating_system: String,
    #[serde(rename = "OSVersion")]
    pub(crate) os_version: &'static str,
    #[serde(rename = "OSType")]
    pub(crate) os_type: &'static str,
    pub(crate) architecture: String,
    pub(crate) index_server_address: &'static str,
    pub(crate) registry_config: RegistryConfig,
    #[serde(rename = "NCPU")]
    pub(crate) cpus: usize,
    pub(crate) mem_total: u64,
    pub(crate) http_proxy: &'static str,
    pub(crate) https_proxy: &'static str,
    pub(crate) no_proxy: &'static str,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    pub(crate) experimental_build: bool,
    pub(crate) server_version: &'static str,
    pub(crate) default_runtime: &'static str,
    pub(crate) runtimes: std::collections::BTreeMap<&'static str, Runtime>,
    pub(crate) swarm: Swarm,
    pub(crate) live_restore_enabled: bool,
    pub(crate) isolation: &'static str,
    pub(crate) init_binary: &'static str,
    pub(crate) security_options: Vec<&'static str>,
    pub(crate) warnings: Vec<String>,
}

/// What may be plugged in, of each sort.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Plugins {
    pub(crate) volume: [&'static str; 1],
    pub(crate) network: [&'static str; 3],
    pub(crate) log: [&'static str; 1],
}

/// How registries are reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RegistryConfig {
    #[serde(rename = "InsecureRegistryCIDRs")]
    pub(crate) insecure_cidrs: Vec<String>,
    pub(crate) index_configs: Map,
    pub(crate) mirrors: Vec<String>,
}

/// What runs containers.
#[derive(Debug, Serialize)]
pub(crate) struct Runtime {
    pub(crate) path: &'static str,
}

/// That there is no swarm.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Swarm {
    pub(crate) local_node_state: &'static str,
}

/// `GET /system/df`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DiskUsage {
    pub(crate) layers_size: u64,
    pub(crate) images: Vec<ImageSummary>,
    pub(crate) containers: Vec<ContainerSummary>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) build_cache: Vec<BuildCache>,
    pub(crate) builder_size: u64,
}

/// What builds left. kiln measures it as a whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BuildCache {
    #[serde(rename = "ID")]
    pub(crate) id: &'static str,
    #[serde(rename = "Type")]
    pub(crate) kind: &'static str,
    pub(crate) description: &'static str,
    pub(crate) in_use: bool,
    pub(crate) shared: bool,
    pub(crate) size: u64,
    pub(crate) created_at: &'static str,
    pub(crate) usage_count: usize,
}

/// `POST /auth`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LoggedIn {
    pub(crate) status: &'static str,
    pub(crate) identity_token: &'static str,
}
