//! What devices add to a container, in the runtime's words.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;

use kiln_runtime::{DeviceKind, DeviceNode, MountKind, Propagation, Tree, UserMount};
use kiln_sys::mount::{Mount, MountFlags};

use super::Device;
use super::spec::{EditsSpec, MountSpec, NodeSpec};
use crate::error::Cause;

/// What a device node may be used for where its spec does not say.
const ALL_ACCESS: &str = "rwm";
/// The permissions of a device node where its spec does not say.
const MODE: u32 = 0o666;

/// What devices add to a container.
#[derive(Debug, Default)]
pub struct Edits {
    /// Variables; a later one replaces an earlier one.
    pub env: Vec<String>,
    /// Device nodes.
    pub nodes: Vec<DeviceNode>,
    /// Files of the host.
    pub mounts: Vec<UserMount>,
    /// More groups, as numbers.
    pub groups: Vec<String>,
}

impl Edits {
    /// What `devices` add together: of each spec what it adds for all, then what each device adds. A hook, or anything
    /// else that only a driver's program can do, is an error that names it.
    pub fn of(devices: &[Device]) -> Result<Edits, Cause> {
        let mut edits = Edits::default();
        let mut specs = Vec::new();
        for device in devices {
            if !specs.iter().any(|known| Arc::ptr_eq(known, &device.spec)) {
                specs.push(device.spec.clone());
                edits.add(&device.name, &device.spec.container_edits)?;
            }
            edits.add(&device.name, &device.spec.devices[device.index].container_edits)?;
        }
        Ok(edits)
    }

    fn add(&mut self, device: &str, spec: &EditsSpec) -> Result<(), Cause> {
        let EditsSpec { env, device_nodes, mounts, additional_gids, hooks, intel_rdt, net_devices } = spec;
        let refuse = |what: &str| Err(Cause::Unsupported(format!("{what} of the device `{device}`")));
        if let Some(hook) = hooks.first() {
            return refuse(&format!("the hook `{}`", hook.hook_name));
        }
        if intel_rdt.is_some() || !net_devices.is_empty() {
            return refuse(if intel_rdt.is_some() { "`intelRdt`" } else { "`netDevices`" });
        }
        self.env.extend(env.iter().cloned());
        for spec in device_nodes {
            self.nodes.push(node(device, spec)?);
        }
        for spec in mounts {
            self.mounts.push(mount(device, spec)?);
        }
        self.groups.extend(additional_gids.iter().filter(|gid| **gid != 0).map(u32::to_string));
        Ok(())
    }
}

/// A node as its spec says, and where that is silent as the host's is.
fn node(device: &str, spec: &NodeSpec) -> Result<DeviceNode, Cause> {
    let wrong =
        |why: &str| Cause::Invalid(format!("the node `{}` of the device `{device}` {why}", spec.path));
    let said = match spec.kind.as_deref() {
        None | Some("") => None,
        Some("c" | "u") => Some(DeviceKind::Character),
        Some("b") => Some(DeviceKind::Block),
        Some("p") => Some(DeviceKind::Fifo),
        Some(_) => return Err(wrong("has a type that is none of `b`, `c`, `u` and `p`")),
    };
    let (kind, major, minor) = match (said, spec.major) {
        (Some(DeviceKind::Fifo), _) => (DeviceKind::Fifo, 0, 0),
        (Some(kind), Some(major)) if major != 0 => (kind, major, spec.minor.unwrap_or(0)),
        _ => of_host(spec).ok_or_else(|| wrong("is not on this machine"))?,
    };
    Ok(DeviceNode {
        path: spec.path.clone(),
        kind,
        major,
        minor,
        mode: spec.file_mode.unwrap_or(MODE) & 0o777,
        uid: spec.uid,
        gid: spec.gid,
        access: spec
            .permissions
            .clone()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| ALL_ACCESS.to_owned()),
    })
}

fn of_host(spec: &NodeSpec) -> Option<(DeviceKind, u32, u32)> {
    let path = spec.host_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(&spec.path);
    let meta = std::fs::metadata(path).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => DeviceKind::Character,
        kind if kind.is_block_device() => DeviceKind::Block,
        kind if kind.is_fifo() => DeviceKind::Fifo,
        _ => return None,
    };
    let (major, minor) = kiln_sys::fs::split_device(meta.rdev());
    Some((kind, major, minor))
}

fn mount(device: &str, spec: &MountSpec) -> Result<UserMount, Cause> {
    let wrong = |why: String| {
        Cause::Invalid(format!("the mount `{}` of the device `{device}` {why}", spec.container_path))
    };
    if !matches!(spec.kind.as_deref(), None | Some("" | "bind" | "none")) {
        return Err(wrong("is not a bind".to_owned()));
    }
    let mut mount = Mount::bind(&spec.host_path, "");
    for option in &spec.options {
        mount.flags |= match option.as_str() {
            "ro" => MountFlags::READONLY,
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            "slave" | "rslave" => MountFlags::SLAVE,
            "rw" | "bind" | "rbind" | "private" | "rprivate" => MountFlags::NONE,
            other => return Err(wrong(format!("has the option `{other}`, which is not known"))),
        };
    }
    let tree = mount.detached()?;
    Ok(UserMount {
        kind: MountKind::Tree(Tree(Arc::new(tree))),
        target: spec.container_path.clone(),
        readonly: false,
        propagation: Propagation::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::spec::Spec;
    use super::*;

    fn edits(text: &str) -> Result<Edits, Cause> {
        let text = format!(
            "{{\"kind\": \"a/b\", \"containerEdits\": {{\"env\": [\"ALL=1\"]}}, \"devices\": [
                {{\"name\": \"x\", \"containerEdits\": {text}}}, {{\"name\": \"y\"}}]}}"
        );
        let spec = Arc::new(Spec::parse(&text, true).unwrap());
        let device =
            |(index, name): (usize, &str)| Device { name: name.to_owned(), spec: spec.clone(), index };
        Edits::of(&["a/b=x", "a/b=y"].into_iter().enumerate().map(device).collect::<Vec<_>>())
    }

    #[test]
    fn what_a_spec_adds_for_all_is_added_once() {
        let edits = edits(r#"{"env": ["X=1"], "additionalGids": [0, 44]}"#).unwrap();
        assert_eq!(
            (edits.env, edits.groups),
            (vec!["ALL=1".to_owned(), "X=1".to_owned()], vec!["44".to_owned()])
        );
    }

    #[test]
    fn nodes_are_asked_of_the_host_where_the_spec_is_silent() {
        let edits = edits(
            r#"{"deviceNodes": [{"path": "/dev/zero"}, {"path": "/dev/mine", "hostPath": "/dev/null"},
                {"path": "/dev/x", "type": "b", "major": 7, "minor": 3, "fileMode": 384, "permissions": "r", "uid": 5}]}"#,
        )
        .unwrap();
        let seen = |node: &DeviceNode| (node.path.clone(), node.kind, node.major, node.minor, node.mode);
        assert_eq!(
            edits.nodes.iter().map(seen).collect::<Vec<_>>(),
            [
                ("/dev/zero".to_owned(), DeviceKind::Character, 1, 5, 0o666),
                ("/dev/mine".to_owned(), DeviceKind::Character, 1, 3, 0o666),
                ("/dev/x".to_owned(), DeviceKind::Block, 7, 3, 0o600),
            ]
        );
        assert_eq!(
            (edits.nodes[2].access.as_str(), edits.nodes[2].uid, edits.nodes[2].gid),
            ("r", Some(5), None)
        );
    }

    #[test]
    fn what_is_not_done_is_named() {
        for (text, named) in [
            (r#"{"hooks": [{"hookName": "createContainer", "path": "/x"}]}"#, "the hook `createContainer`"),
            (r#"{"intelRdt": {}}"#, "`intelRdt`"),
            (r#"{"deviceNodes": [{"path": "/dev/not-there"}]}"#, "is not on this machine"),
            (r#"{"mounts": [{"hostPath": "/tmp", "containerPath": "/t", "options": ["suid"]}]}"#, "`suid`"),
        ] {
            let error = edits(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
