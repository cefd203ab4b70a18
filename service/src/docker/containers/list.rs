//! `GET /containers/json`

use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use kiln_engine::Engine;
use kiln_engine::containers::{Container, ListOptions, MountPoint, Status};

use super::network;
use crate::docker::filters::Filters;
use crate::docker::model::container::{Endpoint, Mount, Port, Summary, SummaryHostConfig, SummaryNetworks};
use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, Failure, json, task, time};

const FILTERS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "label!", "name",
    "network", "publish", "since", "status",
];
/// Filters that Docker has and that are refused by name.
const LACKING: [&str; 3] = ["expose", "is-task", "publish"];

/// `GET /containers/json`
pub(super) async fn list(State(daemon): State<Daemon>, params: Params) -> Answer {
    let filters = params.filters(&FILTERS)?;
    if let Some(lacking) = LACKING.into_iter().find(|name| filters.has(name)) {
        return Err(Failure::lacking(format!("the filter `{lacking}` of containers")));
    }
    let limit = params
        .number::<i64>("limit")?
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0);
    let all = params.is_on("all") || limit.is_some() || filters.has("status") || filters.has("exited");
    let engine = daemon.engine.clone();
    // All, as others may be named by `before` and `since`.
    let containers = task::blocking(move || engine.containers().list(&ListOptions { all: true })).await?;
    let created = |name: &str| {
        let named = |container: &&Container| container.id.starts_with(name) || container.name == name;
        containers.iter().find(named).map(|container| container.created.clone())
    };
    let before = filters.values("before").first().and_then(|name| created(name));
    let since = filters.values("since").first().and_then(|name| created(name));
    let wanted: Vec<Container> = containers
        .into_iter()
        .filter(|container| all || super::runs::is_active(container))
        .filter(|container| passes(container, &filters))
        .filter(|container| before.as_ref().is_none_or(|before| container.created < *before))
        .filter(|container| since.as_ref().is_none_or(|since| container.created > *since))
        .take(limit.unwrap_or(usize::MAX))
        .collect();
    let engine = daemon.engine.clone();
    let lines: Vec<Summary> = match params.is_on("size") {
        true => {
            let measure = move |container| measured(&engine, container);
            task::blocking(move || Ok(wanted.into_iter().map(measure).collect())).await?
        }
        false => wanted.into_iter().map(summary).collect(),
    };
    Ok(json(StatusCode::OK, &lines))
}

fn passes(container: &Container, filters: &Filters) -> bool {
    let options = &container.options;
    let labels = options.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let health = container.state.health.as_ref().map_or("none", |health| health.status.as_str());
    let is_of = |image: &str| {
        let without_tag = options.image.rsplit_once(':').map_or(options.image.as_str(), |(name, _)| name);
        options.image == image
            || without_tag == image
            || container.image_id == image
            || container.image_id.trim_start_matches("sha256:").starts_with(image)
    };
    // Docker looks for a pattern anywhere in a name; `^` and `$` stand for its ends.
    let is_named = |pattern: &str| {
        let text = pattern.trim_start_matches('^').trim_end_matches('$').trim_start_matches('/');
        match (pattern.starts_with('^'), pattern.ends_with('$')) {
            (true, true) => container.name == text,
            (true, false) => container.name.starts_with(text),
            (false, true) => container.name.ends_with(text),
            (false, false) => container.name.contains(text),
        }
    };
    filters.any("status", |status| container.state.status.as_str() == status)
        && filters.any("id", |id| container.id.starts_with(id))
        && filters.any("name", is_named)
        && filters.any("ancestor", is_of)
        && filters.any("health", |wanted| health == wanted)
        && filters.any("network", |wanted| network(&options.network) == wanted)
        && filters.any("exited", |code| {
            container.state.finished_at.is_some() && container.state.exit_code.to_string() == code
        })
        && filters.labels(labels)
}

/// A container as a line of the list.
pub(crate) fn summary(container: Container) -> Summary {
    let status = status(&container);
    let network = network(&container.options.network);
    let networks = SummaryNetworks { networks: [(network, endpoint(&container))].into() };
    Summary {
        names: vec![format!("/{}", container.name)],
        image: container.options.image.clone(),
        command: container.args.join(" "),
        created: time::seconds(&container.created),
        ports: ports(&container),
        size_rw: None,
        size_root_fs: None,
        labels: container.options.labels.iter().cloned().collect(),
        state: container.state.status.as_str(),
        status,
        host_config: SummaryHostConfig { network_mode: network },
        network_settings: networks,
        mounts: container.mounts.iter().map(mount).collect(),
        id: container.id,
        image_id: container.image_id,
    }
}

/// The same with its sizes. One that is removed meanwhile has none.
pub(crate) fn measured(engine: &Engine, container: Container) -> Summary {
    let written = engine.containers().size(&container).ok();
    let image = engine.images().inspect(&container.image_id, None).ok().map(|image| image.summary.size);
    let size_root_fs = written.zip(image).map(|(written, image)| written + image);
    Summary { size_rw: written, size_root_fs, ..summary(container) }
}

/// The published ports, and those that are only named.
fn ports(container: &Container) -> Vec<Port> {
    let published = container.ports.iter().map(|port| Port {
        ip: Some(port.host_ip.to_string()),
        private: port.container_port,
        public: Some(port.host_port),
        kind: super::port(port.container_port, port.protocol)
            .split('/')
            .next_back()
            .unwrap_or_default()
            .to_owned(),
    });
    let is_published = |text: &str| {
        container.ports.iter().any(|port| super::port(port.container_port, port.protocol) == text)
    };
    let named = container.exposed_ports.iter().filter(|text| !is_published(text)).filter_map(|text| {
        let (port, kind) = text.split_once('/').unwrap_or((text, "tcp"));
        Some(Port { ip: None, private: port.parse().ok()?, public: None, kind: kind.to_owned() })
    });
    published.chain(named).collect()
}

pub(super) fn endpoint(container: &Container) -> Endpoint {
    let text =
        |address: Option<std::net::IpAddr>| address.map_or_else(String::new, |address| address.to_string());
    Endpoint {
        gateway: text(container.gateway),
        ip_address: text(container.address),
        ip_prefix_len: if container.address.is_some() { 16 } else { 0 },
        ..Endpoint::default()
    }
}

pub(super) fn mount(mount: &MountPoint) -> Mount {
    Mount {
        kind: mount.kind.clone(),
        driver: mount.name.as_ref().map(|_| "local"),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.target.clone(),
        mode: "",
        rw: !mount.readonly,
        propagation: if mount.kind == "bind" { "rprivate" } else { "" },
    }
}

/// Docker's sentence: `Up 3 minutes (Paused)`, `Exited (0) 2 hours ago`.
fn status(container: &Container) -> String {
    let state = &container.state;
    let now = Timestamp::now();
    let since = |moment: &Option<String>| {
        moment.as_deref().and_then(|moment| time::since(moment, now)).unwrap_or_default()
    };
    match state.status {
        Status::Running => {
            let health = state.health.as_ref().map(|health| match health.status.as_str() {
                "starting" => " (health: starting)".to_owned(),
                word => format!(" ({word})"),
            });
            format!("Up {}{}", since(&state.started_at), health.unwrap_or_default())
        }
        Status::Paused => format!("Up {} (Paused)", since(&state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Status::Created => "Created".to_owned(),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_choose_containers() {
        let mut container = Container { id: "0123".into(), name: "web-1".into(), ..Container::default() };
        container.options.image = "nginx:1".into();
        container.options.labels.push(("tier".into(), "front".into()));
        let passes = |text: &str| passes(&container, &Filters::parse(Some(text), &FILTERS).unwrap());
        for yes in [
            r#"{"name":["web"]}"#,
            r#"{"name":["^/web-1$"]}"#,
            r#"{"ancestor":["nginx"]}"#,
            r#"{"status":["created","running"]}"#,
            r#"{"label":["tier=front"],"network":["bridge"]}"#,
            r#"{"health":["none"]}"#,
        ] {
            assert!(passes(yes), "{yes}");
        }
        for no in
            [r#"{"name":["^eb"]}"#, r#"{"ancestor":["redis"]}"#, r#"{"exited":["0"]}"#, r#"{"id":["1"]}"#]
        {
            assert!(!passes(no), "{no}");
        }
    }

    #[test]
    fn a_line_says_ports_and_state() {
        let container =
            Container { exposed_ports: vec!["80/tcp".into(), "x".into()], ..Container::default() };
        let line = summary(container);
        assert_eq!((line.ports.len(), line.ports[0].private, line.ports[0].public), (1, 80, None));
        assert_eq!((line.state, line.status.as_str()), ("created", "Created"));
    }
}
