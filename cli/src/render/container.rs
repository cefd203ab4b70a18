//! A container as a row of `ps` and as `inspect` shows it, with Docker's field names.

use jiff::Timestamp;
use kiln_engine::containers::{
    Container, ContainerOptions, MountKind, MountPoint, NetworkMode, Protocol, PublishedPort, RestartPolicy,
    Status,
};
use serde_json::{Map, Value, json};

use super::health;
use crate::values::time;

/// How much of a command a list shows.
const COMMAND_WIDTH: usize = 20;
const SHORT_ID: usize = 12;
/// Docker writes this for a moment that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A row of `ps`.
pub(crate) fn row(container: &Container, now: Timestamp, no_trunc: bool) -> Value {
    let age = time::since(&container.created, now).map_or_else(String::new, |age| format!("{age} ago"));
    json!({
        "ID": if no_trunc { &container.id[..] } else { short(&container.id) },
        "Image": container.options.image,
        "Command": command(&container.args, no_trunc),
        "CreatedAt": container.created,
        "RunningFor": age,
        "Ports": container.ports.iter().map(port).collect::<Vec<_>>().join(", "),
        "State": container.state.status.as_str(),
        "Status": status(container, now),
        "Names": container.name,
        "Labels": pairs(&container.options.labels),
        "Mounts": container.mounts.iter().map(mount_name).collect::<Vec<_>>().join(","),
        "Networks": network(&container.options.network),
    })
}

/// The first characters of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// `tcp` or `udp`.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn command(args: &[String], no_trunc: bool) -> String {
    let text = args.join(" ");
    if no_trunc || text.chars().count() <= COMMAND_WIDTH {
        return format!("\"{text}\"");
    }
    format!("\"{}…\"", text.chars().take(COMMAND_WIDTH - 1).collect::<String>())
}

fn port(port: &PublishedPort) -> String {
    let host = std::net::SocketAddr::new(port.host_ip, port.host_port);
    format!("{host}->{}/{}", port.container_port, protocol(port.protocol))
}

fn pairs(labels: &[(String, String)]) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn mount_name(mount: &MountPoint) -> String {
    mount.name.clone().unwrap_or_else(|| mount.source.clone())
}

fn network(network: &NetworkMode) -> &'static str {
    match network {
        NetworkMode::Bridge => "bridge",
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
    }
}

/// Docker's sentence: `Up 3 minutes (Paused)`, `Exited (0) 2 hours ago`.
fn status(container: &Container, now: Timestamp) -> String {
    let state = &container.state;
    let since = |moment: &Option<String>| {
        moment.as_deref().and_then(|moment| time::since(moment, now)).unwrap_or_default()
    };
    match state.status {
        Status::Running => format!("Up {}{}", since(&state.started_at), health::words(state.health.as_ref())),
        Status::Paused => format!("Up {} (Paused)", since(&state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Status::Created => "Created".to_owned(),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
    }
}

/// Everything about a container.
pub(crate) fn inspect(container: &Container) -> Value {
    let options = &container.options;
    let (path, args) = container.args.split_first().map_or(("", &[][..]), |(path, args)| (path, args));
    json!({
        "Id": container.id,
        "Created": container.created,
        "Path": path,
        "Args": args,
        "State": state(container),
        "Image": container.image_id,
        "LogPath": container.log_path,
        "Name": format!("/{}", container.name),
        "RestartCount": container.state.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "HostConfig": host_config(options),
        "Mounts": container.mounts.iter().map(mount).collect::<Vec<_>>(),
        "Config": config(container),
        "NetworkSettings": network_settings(container),
    })
}

fn state(container: &Container) -> Value {
    let state = &container.state;
    let running = matches!(state.status, Status::Running | Status::Paused | Status::Restarting);
    let mut shown = json!({
        "Status": state.status.as_str(),
        "Running": running,
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid.unwrap_or(0),
        "SupervisorPid": state.supervisor_pid.unwrap_or(0),
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at.as_deref().unwrap_or(NEVER),
        "FinishedAt": state.finished_at.as_deref().unwrap_or(NEVER),
    });
    // As with Docker, the key is there only where the program is asked.
    if let Some(found) = &state.health {
        shown["Health"] = health::state(found);
    }
    shown
}

fn config(container: &Container) -> Value {
    let options = &container.options;
    let labels: Map<String, Value> =
        options.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let exposed: Map<String, Value> =
        container.exposed_ports.iter().map(|port| (port.clone(), json!({}))).collect();
    json!({
        "Hostname": options.hostname.as_deref().unwrap_or(short(&container.id)),
        "User": options.user.as_deref().unwrap_or_default(),
        "Tty": options.tty,
        "OpenStdin": options.open_stdin,
        "ExposedPorts": exposed,
        "Env": options.env,
        "Cmd": options.command,
        "Image": options.image,
        "WorkingDir": options.working_dir.as_deref().unwrap_or_default(),
        "Entrypoint": options.entrypoint,
        "Labels": labels,
        "Healthcheck": options.health.as_ref().map(health::check),
        "StopSignal": options.stop_signal,
        "StopTimeout": options.stop_timeout.map(|timeout| timeout.as_secs()),
    })
}

fn host_config(options: &ContainerOptions) -> Value {
    let (policy, count) = match options.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { max } => ("on-failure", max),
    };
    let hosts: Vec<String> =
        options.add_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    json!({
        "Binds": binds(options),
        "NetworkMode": network(&options.network),
        "PortBindings": wanted_ports(options),
        "RestartPolicy": { "Name": policy, "MaximumRetryCount": count },
        "AutoRemove": options.auto_remove,
        "CapAdd": options.cap_add,
        "CapDrop": options.cap_drop,
        "ExtraHosts": hosts,
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "Memory": options.memory.unwrap_or(0),
        "NanoCpus": options.nano_cpus.unwrap_or(0),
        "PidsLimit": options.pids_limit,
        "CgroupParent": options.cgroup_parent.as_deref().unwrap_or_default(),
        "Init": options.init,
    })
}

fn binds(options: &ContainerOptions) -> Vec<String> {
    let bind = |mount: &kiln_engine::containers::MountRequest| {
        let source = match &mount.kind {
            MountKind::Bind { source, .. } => source,
            MountKind::Volume { name: Some(name) } => name,
            _ => return None,
        };
        let suffix = if mount.readonly { ":ro" } else { "" };
        Some(format!("{source}:{}{suffix}", mount.target))
    };
    options.mounts.iter().filter_map(bind).collect()
}

fn wanted_ports(options: &ContainerOptions) -> Value {
    let mut ports = Map::new();
    for port in &options.ports {
        let key = format!("{}/{}", port.container_port, protocol(port.protocol));
        let ip = port.host_ip.map_or_else(String::new, |ip| ip.to_string());
        let host = port.host_port.map_or_else(String::new, |port| port.to_string());
        push(&mut ports, key, json!({ "HostIp": ip, "HostPort": host }));
    }
    Value::Object(ports)
}

fn push(map: &mut Map<String, Value>, key: String, value: Value) {
    if let Value::Array(list) = map.entry(key).or_insert_with(|| json!([])) {
        list.push(value);
    }
}

fn mount(mount: &MountPoint) -> Value {
    json!({
        "Type": mount.kind,
        "Name": mount.name,
        "Source": mount.source,
        "Destination": mount.target,
        "Mode": "",
        "RW": !mount.readonly,
    })
}

fn network_settings(container: &Container) -> Value {
    let mut ports = Map::new();
    for port in &container.exposed_ports {
        ports.insert(port.clone(), Value::Null);
    }
    for port in &container.ports {
        let key = format!("{}/{}", port.container_port, protocol(port.protocol));
        if ports.get(&key).is_none_or(Value::is_null) {
            ports.insert(key.clone(), json!([]));
        }
        push(
            &mut ports,
            key,
            json!({ "HostIp": port.host_ip.to_string(), "HostPort": port.host_port.to_string() }),
        );
    }
    let text =
        |address: &Option<std::net::IpAddr>| address.map_or_else(String::new, |address| address.to_string());
    let (address, gateway) = (text(&container.address), text(&container.gateway));
    let name = network(&container.options.network);
    json!({
        "Ports": ports,
        "IPAddress": address,
        "Gateway": gateway,
        "Networks": { name: { "IPAddress": address, "Gateway": gateway } },
    })
}

#[cfg(test)]
mod tests {
    use kiln_engine::containers::{Health, HealthResult, HealthStatus, State};

    use super::*;

    fn container() -> Container {
        let ports = vec![PublishedPort {
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
        }];
        let state = State {
            status: Status::Exited,
            exit_code: 3,
            finished_at: Some("2026-01-31T11:57:00Z".into()),
            ..State::default()
        };
        Container {
            id: "0123456789abcdef".repeat(4),
            name: "web".into(),
            created: "2026-01-31T11:00:00Z".into(),
            args: vec!["nginx".into(), "-g".into(), "daemon off; and more".into()],
            options: ContainerOptions { image: "nginx".into(), ..ContainerOptions::default() },
            ports,
            exposed_ports: vec!["80/tcp".into(), "443/tcp".into()],
            state,
            address: Some("10.0.0.2".parse().unwrap()),
            ..Container::default()
        }
    }

    #[test]
    fn a_row_has_dockers_words() {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let row = row(&container(), now, false);
        assert_eq!(row["ID"], "0123456789ab");
        assert_eq!(row["Command"], "\"nginx -g daemon off…\"");
        assert_eq!(row["RunningFor"], "About an hour ago");
        assert_eq!(row["Status"], "Exited (3) 3 minutes ago");
        assert_eq!(row["Ports"], "0.0.0.0:8080->80/tcp");
    }

    #[test]
    fn health_is_shown_where_there_is_any() {
        let mut container = container();
        assert!(inspect(&container)["State"].get("Health").is_none());
        container.state.status = Status::Running;
        container.state.started_at = Some("2026-01-31T11:59:50Z".into());
        let log = vec![HealthResult { exit_code: 1, output: "down".into(), ..HealthResult::default() }];
        container.state.health = Some(Health { status: HealthStatus::Unhealthy, failing_streak: 3, log });
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(row(&container, now, false)["Status"], "Up 10 seconds (unhealthy)");
        let health = &inspect(&container)["State"]["Health"];
        assert_eq!((&health["Status"], &health["FailingStreak"]), (&json!("unhealthy"), &json!(3)));
        assert_eq!((&health["Log"][0]["ExitCode"], &health["Log"][0]["Output"]), (&json!(1), &json!("down")));
    }

    #[test]
    fn the_paths_that_scripts_use_are_there() {
        let value = inspect(&container());
        assert_eq!(value["State"]["Status"], "exited");
        assert_eq!(value["State"]["Running"], false);
        assert_eq!(value["State"]["ExitCode"], 3);
        assert_eq!(value["Name"], "/web");
        assert_eq!(value["NetworkSettings"]["IPAddress"], "10.0.0.2");
        assert_eq!(value["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"], "8080");
        assert!(value["NetworkSettings"]["Ports"]["443/tcp"].is_null());
        assert_eq!(value["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], "10.0.0.2");
        assert_eq!(value["HostConfig"]["RestartPolicy"]["Name"], "no");
    }
}
