//! `GET /info`

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use kiln_engine::info::Info as Known;

use super::VERSION;
use crate::docker::model::Map;
use crate::docker::model::system::{Info, Plugins, RegistryConfig, Runtime, Swarm};
use crate::docker::{Answer, Daemon, json, task};

/// Docker writes architectures here as `uname -m` does.
fn machine(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

/// `GET /info`
pub(super) async fn info(State(daemon): State<Daemon>) -> Answer {
    let engine = daemon.engine.clone();
    let known = task::blocking(move || engine.info()).await?;
    Ok(json(StatusCode::OK, &answer(known)))
}

fn answer(known: Known) -> Info {
    let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let count = |path: &str| std::fs::read_dir(path).map_or(0, Iterator::count);
    let mirrors =
        known.mirrors.iter().filter(|(host, _)| host == "docker.io").flat_map(|(_, all)| all.clone());
    Info {
        // A root has one identity as long as it is where it is.
        id: kiln_engine::oci::Digest::of(known.root.as_bytes()).short().to_owned(),
        containers: known.containers,
        containers_running: known.running,
        containers_paused: known.paused,
        containers_stopped: known.stopped,
        images: known.images,
        driver: "overlay",
        driver_status: vec![["Control group".to_owned(), known.cgroup_parent]],
        docker_root_dir: known.root,
        plugins: Plugins { volume: ["local"], network: ["bridge", "host", "null"], log: ["json-file"] },
        memory_limit: true,
        swap_limit: false,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: false,
        cpu_set: false,
        pids_limit: true,
        ipv4_forwarding: line("/proc/sys/net/ipv4/ip_forward") == "1",
        oom_kill_disable: false,
        debug: false,
        fds: count("/proc/self/fd"),
        threads: count("/proc/self/task"),
        system_time: jiff::Timestamp::now().to_string(),
        logging_driver: "json-file",
        cgroup_driver: "cgroupfs",
        cgroup_version: known.cgroup_version.to_string(),
        event_listeners: 0,
        kernel_version: known.kernel,
        operating_system: known.operating_system,
        os_version: "",
        os_type: "linux",
        architecture: machine(&known.architecture).to_owned(),
        index_server_address: "https://index.docker.io/v1/",
        registry_config: RegistryConfig {
            insecure_cidrs: Vec::new(),
            index_configs: Map::new(),
            mirrors: mirrors.collect(),
        },
        cpus: known.cpus,
        mem_total: known.memory,
        http_proxy: "",
        https_proxy: "",
        no_proxy: "",
        name: line("/proc/sys/kernel/hostname"),
        labels: Vec::new(),
        experimental_build: false,
        server_version: VERSION,
        default_runtime: "kiln",
        runtimes: BTreeMap::from([("kiln", Runtime { path: "kiln" })]),
        swarm: Swarm { local_node_state: "inactive" },
        live_restore_enabled: true,
        isolation: "",
        init_binary: "kiln",
        security_options: vec!["name=seccomp,profile=builtin"],
        warnings: Vec::new(),
    }
}
