//! `POST /containers/create`: a document to the engine's options. What kiln lacks is refused by name.

mod mounts;
mod ports;

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use kiln_engine::containers::{
    ContainerOptions, Healthcheck, MountKind, MountRequest, NetworkMode, RestartPolicy,
};
use serde_json::{Map as Object, Value};

use super::tell;
use crate::docker::body::Json;
use crate::docker::model::Created;
use crate::docker::model::create::{Create, Health, HostConfig};
use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, Failure, json, task};

/// Keys that kiln has nothing for, unless they say what is so anyway.
const LACKING: [&str; 30] = [
    "Domainname",
    "NetworkDisabled",
    "MacAddress",
    "VolumesFrom",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "GroupAdd",
    "Links",
    "OomScoreAdj",
    "PidMode",
    "SecurityOpt",
    "StorageOpt",
    "UTSMode",
    "UsernsMode",
    "Sysctls",
    "CpuShares",
    "BlkioWeight",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "Devices",
    "DeviceCgroupRules",
    "DeviceRequests",
    "MemoryReservation",
    "OomKillDisable",
    "Ulimits",
    "Cgroup",
    "KernelMemory",
];
/// Keys with the values that they may have.
const FIXED: [(&str, &[&str]); 5] = [
    ("IpcMode", &["", "private"]),
    ("CgroupnsMode", &["", "private"]),
    ("VolumeDriver", &["", "local"]),
    ("Runtime", &["", "kiln", "runc"]),
    ("Isolation", &["", "default"]),
];
/// The size of `/dev/shm` that every container has.
pub(super) const SHM_SIZE: u64 = 64 << 20;

/// `POST /containers/create`
pub(super) async fn create(State(daemon): State<Daemon>, params: Params, body: Json<Create>) -> Answer {
    let mut options = options(body.required()?)?;
    options.name = params.text("name").map(|name| name.trim_start_matches('/').to_owned());
    options.platform = params.text("platform").map(str::to_owned);
    let (engine, image) = (daemon.engine.clone(), options.image.clone());
    let privileged = options.privileged;
    let created = task::run(move || {
        let containers = engine.containers();
        let id = containers.create(&options)?;
        containers.inspect(&id)
    });
    let container =
        created.await.map_err(|error| Failure::or_missing(error, || format!("No such image: {image}")))?;
    if privileged {
        tracing::info!(id = container.id, image, "a privileged container was made");
    }
    tell(&daemon, "create", &container, []);
    Ok(json(StatusCode::CREATED, &Created { id: container.id, warnings: Vec::new() }))
}

/// A document as the engine takes it.
fn options(body: Create) -> Result<ContainerOptions, Failure> {
    refuse(&body.other)?;
    let host = body.host_config;
    refuse(&host.other)?;
    refuse_values(&host)?;
    if body.image.is_empty() {
        return Err(Failure::bad_request("no image was named"));
    }
    let mut mounts = mounts::of(&host)?;
    for target in body.volumes.into_keys() {
        if !mounts.iter().any(|mount| mount.target == target) {
            mounts.push(MountRequest { kind: MountKind::Volume { name: None }, target, readonly: false });
        }
    }
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(ContainerOptions {
        image: body.image,
        command: body.cmd,
        // `--entrypoint ""` is a list of nothing but the empty word.
        entrypoint: match &body.entrypoint[..] {
            [] => None,
            [word] if word.is_empty() => Some(Vec::new()),
            _ => Some(body.entrypoint),
        },
        env: body.env,
        labels: body.labels.into_iter().collect(),
        user: some(body.user),
        working_dir: some(body.working_dir),
        hostname: some(body.hostname),
        tty: body.tty,
        open_stdin: body.open_stdin,
        auto_remove: host.auto_remove,
        init: host.init.unwrap_or_default(),
        read_only: host.readonly_rootfs,
        privileged: host.privileged,
        network: network(&host.network_mode, body.networking_config.endpoints_config.keys())?,
        ports: ports::of(&host.port_bindings)?,
        publish_all: host.publish_all_ports,
        add_hosts: host.extra_hosts.iter().map(|text| extra_host(text)).collect::<Result<_, _>>()?,
        memory: (host.memory > 0).then_some(host.memory),
        nano_cpus: nano_cpus(&host),
        pids_limit: host.pids_limit.filter(|limit| *limit != 0),
        cgroup_parent: some(host.cgroup_parent),
        restart: restart(&host.restart_policy.name, host.restart_policy.maximum_retry_count)?,
        stop_signal: body.stop_signal.and_then(some),
        stop_timeout: body
            .stop_timeout
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
        health: body.healthcheck.map(health),
        cap_add: host.cap_add,
        cap_drop: host.cap_drop,
        mounts,
        ..ContainerOptions::default()
    })
}

/// Refuses what kiln lacks and somebody wants.
fn refuse(other: &Object<String, Value>) -> Result<(), Failure> {
    let says_something = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
    };
    match LACKING.iter().find(|key| other.get(**key).is_some_and(says_something)) {
        Some(key) => Err(Failure::lacking(format!("`{key}` of containers"))),
        None => Ok(()),
    }
}

fn refuse_values(host: &HostConfig) -> Result<(), Failure> {
    for (key, allowed) in FIXED {
        let text = host.other.get(key).and_then(Value::as_str).unwrap_or_default();
        if !allowed.contains(&text) {
            return Err(Failure::lacking(format!("`{key}={text}` of containers")));
        }
    }
    let number = |key: &str| host.other.get(key).and_then(Value::as_i64).unwrap_or_default();
    let shm = number("ShmSize");
    if shm != 0 && shm != SHM_SIZE as i64 {
        return Err(Failure::lacking("another size of `/dev/shm` than 64 MiB"));
    }
    let driver = host.other.get("LogConfig").and_then(|config| config["Type"].as_str()).unwrap_or_default();
    if !matches!(driver, "" | "json-file") {
        return Err(Failure::lacking(format!("the log driver `{driver}`")));
    }
    // Without a limit of its own, what may be swapped is as much again as the memory.
    let swap = number("MemorySwap");
    if swap > 0 && Some(swap) != i64::try_from(host.memory).ok().and_then(|memory| memory.checked_mul(2)) {
        return Err(Failure::lacking("`MemorySwap` of containers"));
    }
    Ok(())
}

fn network<'a>(mode: &str, endpoints: impl Iterator<Item = &'a String>) -> Result<NetworkMode, Failure> {
    let one = |name: &str| match name {
        "" | "default" | "bridge" => Ok(NetworkMode::Bridge),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        name if name.starts_with("container:") => Err(Failure::lacking("the network of another container")),
        name => Err(Failure::new(StatusCode::NOT_FOUND, format!("network {name} not found"))),
    };
    endpoints.into_iter().try_for_each(|name| one(name).map(drop))?;
    one(mode)
}

/// `name:address` of `--add-host`.
pub(crate) fn extra_host(text: &str) -> Result<(String, String), Failure> {
    match text.split_once([':', '=']) {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Ok((name.to_owned(), address.trim_matches(['[', ']']).to_owned()))
        }
        _ => Err(Failure::bad_request(format!("bad format for add-host: {text:?}"))),
    }
}

fn nano_cpus(host: &HostConfig) -> Option<u64> {
    /// Docker's period, where none is given.
    const PERIOD: u64 = 100_000;
    if host.nano_cpus > 0 {
        return Some(host.nano_cpus);
    }
    let quota = u64::try_from(host.cpu_quota).ok().filter(|quota| *quota > 0)?;
    let period = if host.cpu_period == 0 { PERIOD } else { host.cpu_period };
    Some(quota.saturating_mul(1_000_000_000) / period)
}

fn restart(name: &str, max: u32) -> Result<RestartPolicy, Failure> {
    match name {
        "" | "no" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => Ok(RestartPolicy::OnFailure { max }),
        other => Err(Failure::bad_request(format!("invalid restart policy: unknown policy '{other}'"))),
    }
}

fn health(health: Health) -> Healthcheck {
    let time = |nanoseconds: u64| (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds));
    Healthcheck {
        test: health.test,
        interval: time(health.interval),
        timeout: time(health.timeout),
        start_period: time(health.start_period),
        start_interval: time(health.start_interval),
        retries: (health.retries > 0).then_some(health.retries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ContainerOptions, Failure> {
        options(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_the_docker_cli_sends_for_a_plain_run_is_taken() {
        let options = read(
            r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,
            "OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["echo","hi"],"Image":"busybox","Volumes":{},"WorkingDir":"",
            "Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"",
            "Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},
            "AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[24,80],"CapAdd":null,"CapDrop":null,
            "CgroupnsMode":"","Dns":null,"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"",
            "Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,
            "ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,
            "Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"CpuPeriod":0,"CpuQuota":0,
            "CpusetCpus":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,
            "MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"MaskedPaths":null,"ReadonlyPaths":null},
            "NetworkingConfig":{"EndpointsConfig":{"default":{"Links":null}}}}"#,
        )
        .unwrap();
        let expected = ContainerOptions {
            image: "busybox".into(),
            command: vec!["echo".into(), "hi".into()],
            auto_remove: true,
            ..ContainerOptions::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn options_reach_the_engine() {
        let options = read(
            r#"{"Image":"i","Entrypoint":[""],"Cmd":"one","StopTimeout":3,"Volumes":{"/v":{}},"Healthcheck":{"Test":["NONE"]},
            "HostConfig":{"NetworkMode":"host","CpuQuota":50000,"Memory":1048576,"MemorySwap":2097152,"ExtraHosts":["a:1.2.3.4"],
            "RestartPolicy":{"Name":"on-failure","MaximumRetryCount":2},"PidsLimit":-1}}"#,
        )
        .unwrap();
        assert_eq!((options.entrypoint, options.command), (Some(vec![]), vec!["one".to_owned()]));
        assert_eq!(options.network, NetworkMode::Host);
        assert_eq!((options.nano_cpus, options.memory), (Some(500_000_000), Some(1 << 20)));
        assert_eq!(options.restart, RestartPolicy::OnFailure { max: 2 });
        assert_eq!(options.mounts[0].target, "/v");
        assert_eq!(options.add_hosts, [("a".to_owned(), "1.2.3.4".to_owned())]);
        assert_eq!((options.stop_timeout, options.pids_limit), (Some(Duration::from_secs(3)), Some(-1)));
    }

    #[test]
    fn what_kiln_lacks_is_named() {
        let why = |text: &str| {
            let failure = read(&format!(r#"{{"Image":"i",{text}}}"#)).unwrap_err();
            (failure.status.as_u16(), failure.message)
        };
        let lacking = |what: &str| (501, format!("kiln does not have {what}"));
        assert_eq!(why(r#""HostConfig":{"Dns":["1.1.1.1"]}"#), lacking("`Dns` of containers"));
        assert_eq!(why(r#""HostConfig":{"IpcMode":"host"}"#), lacking("`IpcMode=host` of containers"));
        assert_eq!(why(r#""MacAddress":"02:42:ac:11:00:02""#), lacking("`MacAddress` of containers"));
        assert_eq!(
            why(r#""HostConfig":{"LogConfig":{"Type":"syslog"}}"#),
            lacking("the log driver `syslog`")
        );
        assert_eq!(
            why(r#""HostConfig":{"NetworkMode":"front"}"#),
            (404, "network front not found".to_owned())
        );
    }
}
