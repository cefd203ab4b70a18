//! Making a container: the image's wishes and the user's become one record, and a place to write is prepared.

use std::collections::BTreeMap;

use kiln_cache::{Lease, Resource};
use kiln_oci::ContainerConfig;
use kiln_snapshot::Key;

use super::names::{check, name_of, new_id};
use super::record::{KIND, Record, Records, directory, now};
use super::{
    Container, ContainerOptions, Containers, Healthcheck, MountKind, MountPoint, MountRequest, NetworkMode,
    PortRequest, Protocol, Standby, signal,
};
use crate::images::StoredImage;
use crate::{Engine, Error, ErrorKind, Result, volumes};

/// The longest path of a control group.
const MAX_GROUP: usize = 1024;

/// Made-up names that are tried before giving up.
const NAME_ATTEMPTS: u32 = 8;
/// Characters of an id that people see; the host name of a container that has none.
const SHORT_ID: usize = 12;

impl Containers<'_> {
    /// Makes a container and gives its id. Its image must be in the store.
    pub fn create(&self, options: &ContainerOptions) -> Result<String> {
        let id = new_id()?;
        self.create_as(&id, options).map(|()| id)
    }

    /// Makes the container that `standby` waits for. Its image must be in the store.
    pub fn create_for(&self, standby: &Standby, options: &ContainerOptions) -> Result<()> {
        self.create_as(standby.id(), options)
    }

    fn create_as(&self, id: &str, options: &ContainerOptions) -> Result<()> {
        check_options(options)?;
        let image = self.engine.images().find_for(&options.image, options.platform.as_deref())?;
        let mut record = plan(options, &image, id)?;
        let lease = self.engine.store().leases.create()?;
        let result = self.build(&mut record, &image, &lease);
        if result.is_err() {
            let _ = std::fs::remove_dir_all(directory(self.engine.store().root(), id));
            volumes::remove_anonymous(self.engine, &record.anonymous_volumes);
        }
        result
    }

    fn build(&self, record: &mut Record, image: &StoredImage, lease: &Lease) -> Result<()> {
        let store = self.engine.store();
        let id = record.container.id.clone();
        let held = [Resource::Active(Key(id.clone())), Resource::Image(image.descriptor.digest.clone())];
        lease.hold_all(&held)?;
        let parent = store.layers.snapshot_of(lease, &image.config.rootfs.diff_ids)?;
        let prepared = store.snapshots.prepare(&Key(id.clone()), parent.as_ref());
        prepared.map_err(|error| Error::internal("prepare the container's filesystem", error))?;
        let directory = record.directory(store.root());
        make_directory(&directory)?;
        record.container.log_path = directory.join(crate::logs::FILE).display().to_string();
        volumes::attach(self.engine, record, parent.as_ref())?;
        insert(self.engine, record)?;
        Ok(lease.hand_over(&held, KIND, &id)?)
    }
}

fn make_directory(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| Error::internal(format!("create `{}`", path.display()), error))
}

/// A made-up name may be taken; a given one that is taken is an error.
fn insert(engine: &Engine, record: &mut Record) -> Result<()> {
    let records = Records::of(engine);
    if record.container.options.name.is_some() {
        return records.insert(record).map_err(|error| name_taken(&record.container.name, error));
    }
    let mut result = Ok(());
    for attempt in 0..NAME_ATTEMPTS {
        record.container.name = match attempt {
            0 | 1 => name_of(&record.container.id, attempt),
            _ => name_of(&new_id()?, 1),
        };
        result = records.insert(record);
        if !matches!(&result, Err(error) if error.kind == ErrorKind::Conflict) {
            break;
        }
    }
    result
}

/// The same error with what to do about a name that is in use.
pub(super) fn name_taken(name: &str, error: Error) -> Error {
    if error.kind != ErrorKind::Conflict {
        return error;
    }
    Error::conflict(format!("the name `{name}` is in use by another container"))
        .with_hint(format!("`kiln rm {name}` removes that one, `--name` takes another name"))
}

fn check_options(options: &ContainerOptions) -> Result<()> {
    options.name.as_deref().map_or(Ok(()), check)?;
    options.stop_signal.as_deref().map_or(Ok(()), |text| signal::parse(text).map(drop))?;
    if options.auto_remove && options.restart != super::RestartPolicy::No {
        return Err(Error::invalid("`--rm` and a restart policy exclude each other"));
    }
    options.cgroup_parent.as_deref().map_or(Ok(()), check_group)?;
    for mount in &options.mounts {
        let target = &mount.target;
        if !target.starts_with('/') || target.trim_matches('/').is_empty() {
            return Err(Error::invalid(format!(
                "`{target}`: a mount's target is an absolute path below `/`"
            )));
        }
    }
    for port in &options.ports {
        if matches!(port.host_ip, Some(address) if address.is_ipv6()) {
            return Err(Error::not_implemented("publishing a port on an IPv6 address"));
        }
    }
    Ok(())
}

/// A control group is named by plain words with slashes between them, so that it lies where its name says.
fn check_group(path: &str) -> Result<()> {
    let words = path.strip_prefix('/').unwrap_or(path);
    let is_plain = |word: &str| !matches!(word, "" | "." | "..") && !word.contains('\0');
    if path.len() > MAX_GROUP || !words.split('/').all(is_plain) {
        return Err(Error::invalid(format!("`{path}` is not the path of a control group"))
            .with_hint("such as `/builders/nightly`, without `.` and `..`"));
    }
    Ok(())
}

/// The record of a container that is to be made; nothing exists yet.
pub(super) fn plan(options: &ContainerOptions, image: &StoredImage, id: &str) -> Result<Record> {
    let config = &image.config.config;
    let options = with_image(options, config, id);
    let args = arguments(&options, config)?;
    let container = Container {
        id: id.to_owned(),
        name: options.name.clone().unwrap_or_default(),
        created: now(),
        image_id: image.id.to_string(),
        args,
        exposed_ports: config.exposed_ports.keys().cloned().collect(),
        mounts: Vec::new(),
        options,
        ..Container::default()
    };
    Ok(Record {
        container,
        anonymous_volumes: Vec::new(),
        volumes: Vec::new(),
        cgroup_paths: Vec::new(),
        shell: config.shell.clone().unwrap_or_default(),
        stopped: false,
    })
}

/// The options with the image's values where the user gave none.
fn with_image(given: &ContainerOptions, config: &ContainerConfig, id: &str) -> ContainerOptions {
    let mut options = given.clone();
    let or_image = |own: &Option<String>, image: &str| {
        own.clone().or_else(|| (!image.is_empty()).then(|| image.to_owned()))
    };
    options.env = merge_env(&config.env, &given.env);
    options.labels = merge_labels(&config.labels, &given.labels);
    options.user = or_image(&given.user, &config.user);
    options.working_dir = or_image(&given.working_dir, &config.working_dir);
    options.stop_signal = given.stop_signal.clone().or_else(|| config.stop_signal.clone());
    options.health = Healthcheck::of(given.health.as_ref(), config);
    options.hostname.get_or_insert_with(|| id[..SHORT_ID].to_owned());
    if given.publish_all {
        options.ports.extend(exposed(config).filter(|port| !is_published(&given.ports, port)));
    }
    if given.network != NetworkMode::Bridge {
        options.ports.clear();
    }
    for target in config.volumes.keys() {
        let covered = given.mounts.iter().any(|mount| trimmed(&mount.target) == trimmed(target));
        if !covered && target.starts_with('/') {
            let kind = MountKind::Volume { name: None };
            options.mounts.push(MountRequest { kind, target: target.clone(), readonly: false });
        }
    }
    // What is mounted inside another mount comes after it.
    options.mounts.sort_by_key(|mount| trimmed(&mount.target).split('/').count());
    options
}

fn trimmed(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// The image's (or container's) environment with what was given; a name that is given wins.
pub(crate) fn merge_env(image: &[String], given: &[String]) -> Vec<String> {
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let overridden = |entry: &&String| !given.iter().any(|own| name(own) == name(entry));
    image.iter().filter(overridden).chain(given).cloned().collect()
}

fn merge_labels(image: &BTreeMap<String, String>, given: &[(String, String)]) -> Vec<(String, String)> {
    let mut labels = image.clone();
    labels.extend(given.iter().cloned());
    labels.into_iter().collect()
}

/// Docker's rule: another entrypoint makes the image's default arguments meaningless.
fn arguments(options: &ContainerOptions, config: &ContainerConfig) -> Result<Vec<String>> {
    let (program, default) = match &options.entrypoint {
        Some(given) => (given.clone(), Vec::new()),
        None => (config.entrypoint.clone().unwrap_or_default(), config.cmd.clone().unwrap_or_default()),
    };
    let rest = if options.command.is_empty() { default } else { options.command.clone() };
    let args: Vec<String> = program.into_iter().chain(rest).collect();
    if args.is_empty() {
        return Err(Error::invalid(format!(
            "the image `{}` has no command, and none was given",
            options.image
        )));
    }
    Ok(args)
}

/// The image's ports, each to be published on a free one.
fn exposed(config: &ContainerConfig) -> impl Iterator<Item = PortRequest> {
    config.exposed_ports.keys().filter_map(|text| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        Some(PortRequest { host_ip: None, host_port: None, container_port: port.parse().ok()?, protocol })
    })
}

fn is_published(ports: &[PortRequest], wanted: &PortRequest) -> bool {
    ports.iter().any(|port| (port.container_port, port.protocol) == (wanted.container_port, wanted.protocol))
}

/// What a list shows of a mount.
pub(crate) fn mount_point(
    kind: &str,
    name: Option<String>,
    source: String,
    request: &MountRequest,
) -> MountPoint {
    MountPoint {
        kind: kind.to_owned(),
        name,
        source,
        target: request.target.clone(),
        readonly: request.readonly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ContainerConfig {
        ContainerConfig {
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["serve".into()]),
            env: vec!["PATH=/bin".into(), "A=1".into()],
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn arguments_follow_dockers_rules() {
        let run = |entrypoint: Option<Vec<String>>, command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            arguments(&ContainerOptions { entrypoint, command, ..ContainerOptions::default() }, &image())
        };
        assert_eq!(run(None, &[]).unwrap(), ["/entry", "serve"]);
        assert_eq!(run(None, &["x"]).unwrap(), ["/entry", "x"]);
        assert_eq!(run(Some(vec!["sh".into()]), &[]).unwrap(), ["sh"]);
        assert_eq!(run(Some(vec![]), &["x"]).unwrap(), ["x"]);
        assert!(run(Some(vec![]), &[]).is_err());
    }

    #[test]
    fn the_users_environment_wins() {
        assert_eq!(merge_env(&image().env, &["A=2".into(), "B".into()]), ["PATH=/bin", "A=2", "B"]);
    }

    #[test]
    fn exposed_ports_are_published_once() {
        let mut config = image();
        for port in ["80/tcp", "53/udp", "9/sctp", "nonsense"] {
            config.exposed_ports.insert(port.to_owned(), kiln_oci::config::Empty {});
        }
        let given =
            PortRequest { host_ip: None, host_port: Some(8080), container_port: 80, protocol: Protocol::Tcp };
        let options =
            ContainerOptions { publish_all: true, ports: vec![given.clone()], ..ContainerOptions::default() };
        let ports = with_image(&options, &config, &"a".repeat(64)).ports;
        assert_eq!(ports.len(), 2);
        assert_eq!((ports[0].clone(), ports[1].container_port), (given, 53));
    }
}
