//! `GET /containers/{id}/json`

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use kiln_engine::containers::{
    Container, ContainerOptions, Healthcheck as Check, MountKind, RestartPolicy as Restart, Status,
};

use super::create::SHM_SIZE;
use super::list::{endpoint, mount};
use super::{find, network, port};
use crate::docker::model::Empty;
use crate::docker::model::container::{
    Config, Health, HealthResult, Healthcheck, HostConfig, Inspect, LogConfig, NetworkSettings, PortBinding,
    RestartPolicy, State as Shown,
};
use crate::docker::{Answer, Daemon, json, time};

/// `GET /containers/{id}/json`
pub(super) async fn inspect(State(daemon): State<Daemon>, Path(name): Path<String>) -> Answer {
    let container = find(&daemon, &name).await?;
    let execs = daemon.execs.of(&container.id);
    Ok(json(StatusCode::OK, &answer(&container, execs)))
}

fn answer(container: &Container, execs: Vec<String>) -> Inspect {
    let options = &container.options;
    let (path, args) = container.args.split_first().map_or(("", &[][..]), |(path, args)| (path, args));
    let directory = FilePath::new(&container.log_path).parent().unwrap_or(FilePath::new(""));
    let file = |name: &str| directory.join(name).display().to_string();
    let network = network(&options.network);
    Inspect {
        id: container.id.clone(),
        created: container.created.clone(),
        path: path.to_owned(),
        args: args.to_vec(),
        state: state(container),
        image: container.image_id.clone(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: container.log_path.clone(),
        name: format!("/{}", container.name),
        restart_count: container.state.restart_count,
        driver: "overlay",
        platform: "linux",
        mount_label: "",
        process_label: "",
        app_armor_profile: "",
        exec_ids: (!execs.is_empty()).then_some(execs),
        host_config: host_config(options),
        mounts: container.mounts.iter().map(mount).collect(),
        config: config(container),
        network_settings: NetworkSettings {
            ports: ports(container),
            ip_address: endpoint(container).ip_address,
            gateway: endpoint(container).gateway,
            networks: [(network, endpoint(container))].into(),
        },
    }
}

fn state(container: &Container) -> Shown {
    let state = &container.state;
    let or_never = |moment: &Option<String>| moment.clone().unwrap_or_else(|| time::NEVER.to_owned());
    Shown {
        status: state.status.as_str(),
        running: super::runs::is_active(container),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid.unwrap_or(0),
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: or_never(&state.started_at),
        finished_at: or_never(&state.finished_at),
        health: state.health.as_ref().map(|health| Health {
            status: health.status.as_str(),
            failing_streak: health.failing_streak,
            log: health
                .log
                .iter()
                .map(|result| HealthResult {
                    start: result.start.clone(),
                    end: result.end.clone(),
                    exit_code: result.exit_code,
                    output: result.output.clone(),
                })
                .collect(),
        }),
    }
}

fn config(container: &Container) -> Config {
    let options = &container.options;
    let exposed = container.exposed_ports.iter().cloned();
    let published = options.ports.iter().map(|asked| port(asked.container_port, asked.protocol));
    Config {
        hostname: options.hostname.clone().unwrap_or_default(),
        domainname: "",
        user: options.user.clone().unwrap_or_default(),
        attach_stdin: false,
        attach_stdout: false,
        attach_stderr: false,
        exposed_ports: exposed.chain(published).map(|port| (port, Empty {})).collect(),
        tty: options.tty,
        open_stdin: options.open_stdin,
        stdin_once: options.open_stdin,
        env: options.env.clone(),
        cmd: (!options.command.is_empty()).then(|| options.command.clone()),
        healthcheck: options.health.as_ref().map(healthcheck),
        image: options.image.clone(),
        volumes: None,
        working_dir: options.working_dir.clone().unwrap_or_default(),
        entrypoint: options.entrypoint.clone(),
        on_build: None,
        labels: options.labels.iter().cloned().collect(),
        stop_signal: options.stop_signal.clone(),
        stop_timeout: options.stop_timeout.map(|timeout| timeout.as_secs()),
    }
}

fn healthcheck(check: &Check) -> Healthcheck {
    let nanoseconds = |time: Option<Duration>| time.map_or(0, |time| time.as_nanos());
    Healthcheck {
        test: check.test.clone(),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        retries: check.retries.unwrap_or(0),
    }
}

fn host_config(options: &ContainerOptions) -> HostConfig {
    let (name, maximum_retry_count) = match options.restart {
        Restart::No => ("no", 0),
        Restart::Always => ("always", 0),
        Restart::UnlessStopped => ("unless-stopped", 0),
        Restart::OnFailure { max } => ("on-failure", max),
    };
    let mut port_bindings: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for asked in &options.ports {
        let binding = PortBinding {
            host_ip: asked.host_ip.map_or_else(String::new, |ip| ip.to_string()),
            host_port: asked.host_port.map_or_else(String::new, |port| port.to_string()),
        };
        port_bindings.entry(port(asked.container_port, asked.protocol)).or_default().push(binding);
    }
    let binds = binds(options);
    HostConfig {
        binds: (!binds.is_empty()).then_some(binds),
        log_config: LogConfig { kind: "json-file", config: Empty {} },
        network_mode: network(&options.network),
        port_bindings,
        restart_policy: RestartPolicy { name, maximum_retry_count },
        auto_remove: options.auto_remove,
        cap_add: options.cap_add.clone(),
        cap_drop: options.cap_drop.clone(),
        extra_hosts: options.add_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect(),
        privileged: options.privileged,
        publish_all_ports: options.publish_all,
        readonly_rootfs: options.read_only,
        memory: options.memory.unwrap_or(0),
        nano_cpus: options.nano_cpus.unwrap_or(0),
        pids_limit: options.pids_limit,
        cgroup_parent: options.cgroup_parent.clone().unwrap_or_default(),
        init: options.init,
        runtime: "kiln",
        shm_size: SHM_SIZE,
    }
}

fn binds(options: &ContainerOptions) -> Vec<String> {
    let bind = |mount: &kiln_engine::containers::MountRequest| {
        let source = match &mount.kind {
            MountKind::Bind { source, .. } => source,
            MountKind::Volume { name: Some(name) } => name,
            MountKind::Volume { name: None } | MountKind::Tmpfs { .. } => return None,
        };
        Some(format!("{source}:{}{}", mount.target, if mount.readonly { ":ro" } else { "" }))
    };
    options.mounts.iter().filter_map(bind).collect()
}

/// Published ports with where they are, others with nothing.
fn ports(container: &Container) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut ports: BTreeMap<String, Option<Vec<PortBinding>>> =
        container.exposed_ports.iter().map(|port| (port.clone(), None)).collect();
    for published in &container.ports {
        let binding = PortBinding {
            host_ip: published.host_ip.to_string(),
            host_port: published.host_port.to_string(),
        };
        let key = port(published.container_port, published.protocol);
        ports.entry(key).or_default().get_or_insert_default().push(binding);
    }
    ports
}
